//! Who may use or change what, when several builders are at work.
//!
//! These are the locks, in the order in which they are taken; who would need an
//! earlier one than those it has gives them up and begins again.
//!
//! 1. the folder of the fragments, while somebody changes one by a menu;
//! 2. the source tree: shared by all who use it as it is, alone for who unpacks
//!    sources or checks another commit out. Whatever is built from it is built
//!    under this lock, so who has it alone knows that nothing is;
//! 3. a variant's `O=` directory, and what is being filled with what comes of
//!    it: alone, and only with the source tree shared;
//! 4. a folder of the user's or of a tree that is edited: alone;
//! 5. the folder that holds the patches: alone.

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use rapidswap_progress::Reporter;
use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::error::{Error, Result};

/// Proof that nobody else changes some part of the cache, or another folder,
/// nor uses it if the lock was taken [`alone`](Lock::alone).
#[derive(Debug)]
pub(crate) struct Lock(Vec<Flock<File>>);

impl Lock {
    /// Waits until nobody else changes a folder; leaves no file in it.
    pub(crate) fn folder(path: &Path, reporter: &Reporter) -> Result<Lock> {
        let file = File::open(path).map_err(Error::file("open", path))?;
        let note = format!("waiting for another program to leave {}", path.display());
        Lock::take(file, FlockArg::LockExclusive, path, &note, reporter)
    }

    /// Waits until nobody else has this file's lock, with a note that says what
    /// for.
    pub(crate) fn alone(path: &Path, note: &str, reporter: &Reporter) -> Result<Lock> {
        Lock::take(open(path)?, FlockArg::LockExclusive, path, note, reporter)
    }

    /// Waits until nobody has this file's lock alone.
    pub(crate) fn shared(path: &Path, note: &str, reporter: &Reporter) -> Result<Lock> {
        Lock::take(open(path)?, FlockArg::LockShared, path, note, reporter)
    }

    fn take(
        file: File,
        how: FlockArg,
        path: &Path,
        note: &str,
        reporter: &Reporter,
    ) -> Result<Lock> {
        let at_once = match how {
            FlockArg::LockShared => FlockArg::LockSharedNonblock,
            _ => FlockArg::LockExclusiveNonblock,
        };
        let fail = |errno: Errno| Error::file("lock", path)(errno.into());
        let lock = match Flock::lock(file, at_once) {
            Err((file, Errno::EWOULDBLOCK)) => {
                reporter.note(note);
                Flock::lock(file, how)
            }
            outcome => outcome,
        };
        let lock = lock.map_err(|(_, errno)| fail(errno))?;
        Ok(Lock(vec![lock]))
    }

    /// From now on others may have it too. Somebody else may have had it alone
    /// in between: look again.
    pub(crate) fn into_shared(self) -> Result<Lock> {
        for lock in &self.0 {
            lock.relock(FlockArg::LockShared)
                .map_err(|errno| Error::file("share", "the lock")(errno.into()))?;
        }
        Ok(self)
    }

    /// Both locks as one.
    pub(crate) fn and(mut self, later: Lock) -> Lock {
        self.0.extend(later.0);
        self
    }

    /// Second handles on the same locks, to be given to a child: when this
    /// process is killed, the locks stay until that child is gone too.
    pub(crate) fn handles(&self) -> Result<Vec<OwnedFd>> {
        let handle = |lock: &Flock<File>| lock.try_clone().map(OwnedFd::from);
        let handles = self.0.iter().map(handle).collect::<Result<_, _>>();
        handles.map_err(Error::file("share", "the lock"))
    }
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(Error::file("open", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rapidswap_progress::Event;

    #[test]
    fn who_waits_says_so_and_gets_the_lock_when_it_is_free() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = &dir.path().join("lock");
        let silent = Reporter::silent();
        let shared = Lock::shared(path, "", &silent).expect("lock");
        Lock::shared(path, "", &silent).expect("at once");
        let (reporter, events) = Reporter::channel();
        std::thread::scope(|scope| {
            let alone = scope.spawn(|| Lock::alone(path, "waiting", &reporter));
            let note = Event::Note {
                text: "waiting".to_owned(),
            };
            assert_eq!(events.recv().expect("a note"), note);
            assert!(!alone.is_finished());
            drop(shared);
            let alone = alone.join().expect("no panic").expect("lock");
            let _shared = alone.into_shared().expect("gives way");
            Lock::shared(path, "", &silent).expect("at once");
        });
    }
}
