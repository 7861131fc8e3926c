//! What a node's kernel says.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// Prints a console's file and, to `follow`, what comes after, until the
/// cluster ends or nobody reads it any more.
pub fn print(path: &Path, follow: bool) -> anyhow::Result<()> {
    match copy(path, follow) {
        Err(error) if is_unread(&error) => Ok(()),
        other => other,
    }
}

fn is_unread(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn copy(path: &Path, follow: bool) -> anyhow::Result<()> {
    let problem = || format!("cannot read {}", path.display());
    // Before it is read, so that nothing falls in between.
    let changes = Inotify::init(InitFlags::IN_CLOEXEC).with_context(problem)?;
    let wanted = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_ATTRIB;
    changes.add_watch(path, wanted).with_context(problem)?;
    let mut file = File::open(path).with_context(problem)?;
    let mut out = io::stdout().lock();
    loop {
        io::copy(&mut file, &mut out)?;
        out.flush()?;
        if !follow {
            return Ok(());
        }
        // A file that is removed while it is open has an attribute changed.
        changes.read_events().with_context(problem)?;
        if !path.exists() {
            io::copy(&mut file, &mut out)?;
            return Ok(out.flush()?);
        }
    }
}
