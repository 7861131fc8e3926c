//! Who may change a folder: one program at a time.

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use rapidswap_progress::Reporter;
use std::fs::File;
use std::path::Path;

use crate::error::{Error, Result};

/// Proof that nobody else changes the cache, or another folder.
#[derive(Debug)]
pub(crate) struct Lock(Flock<File>);

impl Lock {
    /// Waits until nobody else changes a folder; leaves no file in it.
    pub(crate) fn folder(path: &Path, reporter: &Reporter) -> Result<Lock> {
        let file = File::open(path).map_err(Error::file("open", path))?;
        let note = format!("waiting for another program to leave {}", path.display());
        Lock::take(file, path, &note, reporter)
    }

    pub(crate) fn take(file: File, path: &Path, note: &str, reporter: &Reporter) -> Result<Lock> {
        let fail = |errno: Errno| Error::file("lock", path)(errno.into());
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Lock(lock)),
            Err((file, Errno::EWOULDBLOCK)) => {
                reporter.note(note);
                Flock::lock(file, FlockArg::LockExclusive)
                    .map(Lock)
                    .map_err(|(_, errno)| fail(errno))
            }
            Err((_, errno)) => Err(fail(errno)),
        }
    }

    /// A second handle on the same lock, to be given to a child: when this
    /// process is killed, the lock stays until that child is gone too.
    pub(crate) fn share(&self) -> Result<File> {
        self.0.try_clone().map_err(Error::file("share", "the lock"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn the_second_builder_waits_for_the_first() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let cache = Cache::at(dir.path().to_owned());
        let first = cache.lock(&Reporter::silent()).expect("lock");
        let (sender, receiver) = mpsc::channel();
        let waiter = thread::spawn({
            let cache = cache.clone();
            move || {
                let lock = cache.lock(&Reporter::silent());
                sender.send(()).expect("main waits");
                lock
            }
        });
        let early = receiver.recv_timeout(Duration::from_millis(100));
        assert_eq!(early, Err(mpsc::RecvTimeoutError::Timeout));
        drop(first);
        waiter.join().expect("no panic").expect("lock");
    }
}
