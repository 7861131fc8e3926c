//! What a node's kernel says.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use anyhow::Context;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use rapidswap_vm::{Error, Node, NodeState};

/// How often it is looked, in ms, whether the node is still there: one that is
/// killed writes nothing more.
const LOOK: u16 = 500;

/// Prints a node's console and, to `follow`, what comes after, until the node
/// or the cluster ends or nobody reads it any more.
pub fn print(node: &Node, follow: bool) -> anyhow::Result<()> {
    match copy(node, follow) {
        Err(error) if is_unread(&error) => Ok(()),
        other => other,
    }
}

fn is_unread(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn copy(node: &Node, follow: bool) -> anyhow::Result<()> {
    let path = node.console_path();
    let problem = || format!("cannot read {}", path.display());
    // Before it is read, so that nothing falls in between.
    let changes = Inotify::init(InitFlags::IN_CLOEXEC).with_context(problem)?;
    let wanted = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_ATTRIB;
    changes.add_watch(&path, wanted).with_context(problem)?;
    let mut file = File::open(&path).with_context(problem)?;
    let mut out = io::stdout().lock();
    loop {
        // Before the last of it is read, as well.
        let gone = if follow { gone(node) } else { None };
        io::copy(&mut file, &mut out)?;
        out.flush()?;
        match gone {
            Some(gone) => return Err(gone.into()),
            None if !follow => return Ok(()),
            None => {}
        }
        let mut ready = [PollFd::new(changes.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(LOOK)).with_context(problem)? == 0 {
            continue;
        }
        // A file that is removed while it is open has an attribute changed.
        changes.read_events().with_context(problem)?;
        if !path.exists() {
            io::copy(&mut file, &mut out)?;
            return Ok(out.flush()?);
        }
    }
}

/// That the node is gone, if it is. Of a cluster that has ended the log says
/// so itself: it is removed.
fn gone(node: &Node) -> Option<Error> {
    match node.status().ok()?.state {
        // The last lines of its console have just been printed.
        NodeState::Gone(gone) => Some(Error::NodeGone {
            node: node.name().to_owned(),
            outcome: gone.outcome,
            reason: gone.reason,
            tail: String::new(),
        }),
        _ => None,
    }
}
