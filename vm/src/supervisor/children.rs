//! The child processes of a supervisor.

use std::process::{Child, Command};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::{Event, spawn};
use crate::error::Result;

/// How long a process may take to be gone after it has closed its sockets: a
/// QEMU gives all of its guest's memory back before.
const GOING: Duration = Duration::from_secs(1);

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
        self.watch(child, node, what, Duration::ZERO)
    }

    /// Likewise, of one that ends well by itself when the one that it serves
    /// ends: that one's end is told first, since it has the reason.
    pub(super) fn adopt_server(
        &mut self,
        child: Child,
        node: usize,
        what: &'static str,
    ) -> Result<()> {
        self.watch(child, node, what, GOING)
    }

    fn watch(
        &mut self,
        child: Child,
        node: usize,
        what: &'static str,
        after_good_end: Duration,
    ) -> Result<()> {
        let (index, events) = (self.running.len(), self.events.clone());
        let pid = Pid::from_raw(child.id() as i32);
        self.running.push(Running {
            child: Some(child),
            node,
            what,
        });
        spawn("wait", move || {
            // Looks without reaping.
            let look = || waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            let mut end = look();
            while end == Err(nix::Error::EINTR) {
                end = look();
            }
            if matches!(end, Ok(WaitStatus::Exited(_, 0))) {
                thread::sleep(after_good_end);
            }
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn shell(script: &str) -> Child {
        let child = Command::new("sh").args(["-c", script]).spawn();
        child.expect("there is a shell")
    }

    /// A QEMU closes its sockets before it is gone, and its virtiofs server
    /// ends at once.
    #[test]
    fn the_end_of_what_is_served_is_told_first() {
        let (events, told) = channel();
        let mut children = Children::new(events);
        let server = children.adopt_server(shell("exit 0"), 0, "its server");
        server.expect("adopted");
        let served = children.adopt(shell("sleep 0.2; exit 3"), 0, "its QEMU");
        served.expect("adopted");
        for expected in [
            "its QEMU ended (exit status: 3)",
            "its server ended (exit status: 0)",
        ] {
            let Event::Ended(index) = told.recv().expect("an event") else {
                panic!("not the end of a child");
            };
            assert_eq!(children.reap(index), (0, expected.to_owned()));
        }
    }

    /// One that fails has a reason of its own.
    #[test]
    fn a_server_that_fails_is_told_at_once() {
        let (events, told) = channel();
        let mut children = Children::new(events);
        let server = children.adopt_server(shell("exit 1"), 0, "its server");
        server.expect("adopted");
        let event = told.recv_timeout(GOING / 2).expect("at once");
        assert!(matches!(event, Event::Ended(0)));
    }
}
