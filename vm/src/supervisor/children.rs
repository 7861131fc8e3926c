//! The child processes of a supervisor.

use std::process::{Child, Command};
use std::sync::mpsc::Sender;

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::{Event, spawn};
use crate::error::Result;

/// All children, and who they belong to. A child is reaped by the main thread
/// only, so that a process id that is about to be killed is never another's.
pub(super) struct Children {
    running: Vec<Running>,
    events: Sender<Event>,
}

struct Running {
    child: Option<Child>,
    node: usize,
    what: &'static str,
}

impl Children {
    pub(super) fn new(events: Sender<Event>) -> Children {
        Children {
            running: Vec::new(),
            events,
        }
    }

    /// Takes charge of a process which `node` cannot do without.
    pub(super) fn adopt(&mut self, child: Child, node: usize, what: &'static str) -> Result<()> {
        let (index, events) = (self.running.len(), self.events.clone());
        let pid = Pid::from_raw(child.id() as i32);
        self.running.push(Running {
            child: Some(child),
            node,
            what,
        });
        spawn("wait", move || {
            // Looks without reaping.
            while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
                == Err(nix::Error::EINTR)
            {}
            let _ = events.send(Event::Ended(index));
        })
    }

    /// The node of a child that has ended, and how it ended.
    pub(super) fn reap(&mut self, index: usize) -> (usize, String) {
        let running = &mut self.running[index];
        let status = running.child.take().map(|mut child| child.wait());
        let how = match status {
            Some(Ok(status)) => status.to_string(),
            _ => "unknown status".to_owned(),
        };
        (running.node, format!("{} ended ({how})", running.what))
    }

    /// Kills all that `node` consists of; their ends are events.
    pub(super) fn kill(&mut self, node: usize) {
        let of = self
            .running
            .iter_mut()
            .filter(|running| running.node == node);
        for child in of.filter_map(|running| running.child.as_mut()) {
            // One that has ended by itself needs no killing.
            let _ = child.kill();
        }
    }

    /// Kills and reaps all that run.
    pub(super) fn end(&mut self) {
        let mut left: Vec<Child> = self
            .running
            .iter_mut()
            .filter_map(|running| running.child.take())
            .collect();
        for child in &mut left {
            // One that has ended by itself needs no killing.
            let _ = child.kill();
        }
        for mut child in left {
            let _ = child.wait();
        }
    }
}

/// Starts a process whose error output goes to `log`.
pub(super) fn start(command: &mut Command, log: &std::path::Path) -> std::io::Result<Child> {
    let log = std::fs::File::create(log)?;
    command.stdin(std::process::Stdio::null());
    command.stdout(log.try_clone()?).stderr(log);
    command.spawn()
}
