//! A node's console as it grows.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::cluster::node::Node;
use crate::cluster::status::NodeState;
use crate::error::{Error, IoContext, Result};

impl Node {
    /// Gives `take` all that is on its console, and what comes, until it has
    /// found something; `None` if it has not within `limit`.
    ///
    /// # Errors
    ///
    /// What `take` says; [`Error::NodeGone`] or [`Error::NoCluster`] as soon as
    /// nothing more can come.
    pub fn follow<T, E: From<Error>>(
        &self,
        limit: Option<Duration>,
        mut take: impl FnMut(&[u8]) -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        let path = self.console_path();
        let problem = || format!("cannot scan {}", path.display());
        // Before it is read, so that nothing falls in between.
        let changes = Inotify::init(InitFlags::IN_CLOEXEC).what(problem)?;
        let wanted = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_ATTRIB;
        changes.add_watch(&path, wanted).what(problem)?;
        let mut file = File::open(&path).what(problem)?;
        let deadline = limit.map(|limit| Instant::now() + limit);
        let (mut bytes, mut may_have_ended) = (Vec::new(), true);
        loop {
            // Before the last of it is read, as well.
            let end = may_have_ended.then(|| self.end()).flatten();
            file.read_to_end(&mut bytes).what(problem)?;
            if let Some(found) = take(&bytes)? {
                return Ok(Some(found));
            }
            bytes.clear();
            if let Some(end) = end {
                return Err(end.into());
            }
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            let left = left.map_or(Ok(PollTimeout::NONE), PollTimeout::try_from);
            let mut ready = [PollFd::new(changes.as_fd(), PollFlags::POLLIN)];
            if poll(&mut ready, left.unwrap_or(PollTimeout::MAX)).what(problem)? == 0 {
                return Ok(None);
            }
            let changed = changes.read_events().what(problem)?;
            may_have_ended = changed
                .iter()
                .any(|change| change.mask.contains(AddWatchFlags::IN_ATTRIB));
        }
    }

    /// Waits for a line on its console of which `wanted` says that it is the
    /// one; it is asked of all lines from the first on. Says whether it came
    /// within `limit`.
    ///
    /// # Errors
    ///
    /// As of [`Node::follow`].
    pub fn await_line(
        &self,
        limit: Duration,
        mut wanted: impl FnMut(&str) -> bool,
    ) -> Result<bool> {
        let mut unread = Vec::new();
        let came = self.follow(Some(limit), |bytes| {
            unread.extend_from_slice(bytes);
            let whole = unread.iter().rposition(|byte| *byte == b'\n');
            let lines: Vec<u8> = unread.drain(..whole.map_or(0, |end| end + 1)).collect();
            let lines = String::from_utf8_lossy(&lines);
            Ok(lines.lines().any(&mut wanted).then_some(()))
        });
        came.map(|came| came.is_some())
    }

    /// Why nothing more comes on its console, if so. A supervisor that does not
    /// answer ends, and then the console is removed.
    fn end(&self) -> Option<Error> {
        if !self.console_path().exists() {
            return Some(Error::NoCluster(self.cluster().to_owned()));
        }
        match self.status().ok()?.state {
            NodeState::Gone(gone) => Some(Error::NodeGone {
                node: self.name().to_owned(),
                outcome: gone.outcome,
                reason: gone.reason,
                tail: String::new(),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::request::{self, Reply, Request};
    use crate::cluster::status::{Gone, NodeStatus};
    use crate::console;
    use crate::outcome::Outcome;
    use crate::supervisor::{SOCKET, plan};
    use std::fs;
    use std::io::Write;
    use std::os::unix::net::UnixListener;
    use std::path::Path;
    use std::thread;

    const SOON: Duration = Duration::from_secs(10);

    /// A node of which there is nothing but an empty console.
    fn node(run: &Path) -> Node {
        let node = Node::new(run, "it", "client");
        let console = node.console_path();
        fs::create_dir(console.parent().expect("a directory")).expect("directory");
        fs::write(&console, "").expect("file");
        node
    }

    /// A supervisor that says at each question that the node is in the next of
    /// these states.
    fn supervise(node: &Node, states: Vec<NodeState>) {
        let listener = UnixListener::bind(node.run_dir().join(SOCKET)).expect("socket");
        let (name, console) = (node.name().to_owned(), node.console_path());
        let run = node.run_dir().to_owned();
        thread::spawn(move || {
            for state in states {
                let (stream, _) = listener.accept().expect("a client");
                request::receive::<Request>(&stream).expect("a request");
                let mut status = plan(1).status(&run);
                status.nodes = vec![NodeStatus {
                    name: name.clone(),
                    state,
                    link_up: true,
                    address: "10.77.0.1".into(),
                    memory_mib: 512,
                    pid: 1,
                    console: console.clone(),
                    command_line: "/run/qemu.txt".into(),
                    swap_area: None,
                }];
                request::send(&stream, &Reply::Status(status.into()), &[]).expect("a listener");
            }
        });
    }

    #[test]
    fn a_line_is_seen_when_it_is_whole_and_not_waited_for_for_ever() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let node = node(temp.path());
        let console = File::options().append(true).open(node.console_path());
        let mut console = console.expect("file");
        thread::scope(|scope| {
            let came = scope.spawn(|| node.await_line(SOON, |line| line == "[ 1.0] here"));
            for part in ["[ 0.5] not\r\n[ 1.0] he", "re", "\r\n"] {
                console.write_all(part.as_bytes()).expect("written");
            }
            assert!(came.join().expect("no panic").expect("no error"));
        });
        let there = node.await_line(Duration::ZERO, |line| line.contains("there"));
        assert!(!there.expect("no error"));
    }

    #[test]
    fn a_node_that_is_gone_ends_the_wait() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let node = node(temp.path());
        let gone = Gone {
            outcome: Outcome::GuestPanic,
            reason: "its kernel panicked".into(),
        };
        supervise(&node, vec![NodeState::Up, NodeState::Gone(gone)]);
        let ended = node.follow(Some(SOON), |_| {
            console::touch(&node.console_path());
            Ok(None::<()>)
        });
        let ended: Error = ended.expect_err("it is gone");
        assert!(matches!(ended, Error::NodeGone { .. }), "{ended}");
    }

    #[test]
    fn a_cluster_that_ends_ends_the_wait() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let node = node(temp.path());
        let ended = node.follow(Some(SOON), |_| {
            // The second time it is not there.
            let _ = fs::remove_file(node.console_path());
            Ok(None::<()>)
        });
        let ended: Error = ended.expect_err("it is gone");
        assert!(matches!(ended, Error::NoCluster(_)), "{ended}");
    }
}
