//! Where running clusters live: one directory for each name, locked by its
//! supervisor. A directory nobody locks was left by a supervisor that was
//! killed; whoever comes across one removes it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Uid;

use crate::error::{Error, IoContext, Result};

/// A unix socket's path fits 108 bytes with its end; the longest name in a
/// run directory takes some of them.
const MAX_DIR: usize = 107 - "/server99.console".len();

/// How long a directory may be locked by somebody who only looks whether anybody
/// has it.
const LOOKED_AT: Duration = Duration::from_secs(1);

/// The directory of one cluster, locked. Dropping it removes the directory.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    _lock: Flock<File>,
}

/// Whether a name is taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Nothing of that name.
    Absent,
    /// A supervisor holds it.
    Live,
}

/// `$XDG_RUNTIME_DIR/rapidswap`, or `/tmp/rapidswap-$UID` without that.
pub(crate) fn base() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir).join("rapidswap"),
        None => PathBuf::from(format!("/tmp/rapidswap-{}", Uid::current())),
    }
}

impl RunDir {
    /// Takes the name for this process.
    pub(crate) fn create(base: &Path, name: &str) -> Result<RunDir> {
        ensure_base(base)?;
        let path = base.join(name);
        if path.as_os_str().len() > MAX_DIR {
            return Err(Error::BadOption(format!(
                "{} is too long for a unix socket: set XDG_RUNTIME_DIR to a shorter path",
                path.display()
            )));
        }
        let deadline = Instant::now() + LOOKED_AT;
        loop {
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(error).what(|| format!("cannot make {}", path.display()));
                }
                _ => {}
            }
            match lock(&path)? {
                Locked::Ours(lock) => {
                    // What a killed supervisor left is of no use to this one.
                    empty(&path).what(|| format!("cannot empty {}", path.display()))?;
                    return Ok(RunDir { path, _lock: lock });
                }
                Locked::Theirs if Instant::now() >= deadline => {
                    return Err(Error::AlreadyUp(name.to_owned()));
                }
                Locked::Theirs => thread::sleep(Duration::from_millis(10)),
                Locked::Vanished => {}
            }
        }
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it is called on its way out: no name of a cluster, nor of another
    /// that goes.
    fn gone(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        format!(".{}-{number}", std::process::id())
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // Under another name, so that whoever takes this one meanwhile has a
        // directory of its own. Nobody could do better about a failure than the
        // next command, which finds the directory unlocked and tries again.
        let going = self.path.with_file_name(self.gone());
        let path = match fs::rename(&self.path, &going) {
            Ok(()) => &going,
            Err(_) => &self.path,
        };
        let _ = fs::remove_dir_all(path);
    }
}

/// Whether `name` is taken; removes what a killed supervisor left of it.
pub(crate) fn presence(base: &Path, name: &str) -> Result<Presence> {
    let path = base.join(name);
    if !path.exists() {
        return Ok(Presence::Absent);
    }
    match lock(&path)? {
        Locked::Theirs => Ok(Presence::Live),
        Locked::Vanished => Ok(Presence::Absent),
        Locked::Ours(lock) => {
            drop(RunDir { path, _lock: lock });
            Ok(Presence::Absent)
        }
    }
}

/// Removes the directories of all killed supervisors.
pub(crate) fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    for name in entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
    {
        // One that cannot be removed matters only to who wants its name.
        let _ = presence(base, &name);
    }
}

/// Waits until nobody holds the directory, then removes it.
pub(crate) fn remove_after_owner(path: &Path) {
    let Ok(file) = open_lock(path) else { return };
    let Ok(lock) = Flock::lock(file, FlockArg::LockExclusive) else {
        return;
    };
    if same_file(&lock, &path.join("lock")) {
        drop(RunDir {
            path: path.to_owned(),
            _lock: lock,
        });
    }
}

/// What one command at a time may do to a node of a running cluster: the lock on
/// it, until that is dropped.
pub(crate) fn node_lock(
    run_dir: &Path,
    node: &str,
    what: &str,
    arg: FlockArg,
) -> Result<Option<Flock<File>>> {
    let path = run_dir.join(format!("{node}.{what}-lock"));
    let problem = || format!("cannot lock {}", path.display());
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    match Flock::lock(file.what(problem)?, arg) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::Error::EAGAIN)) => Ok(None),
        Err((_, errno)) => Err(errno).what(problem),
    }
}

enum Locked {
    Ours(Flock<File>),
    Theirs,
    /// The directory was removed meanwhile.
    Vanished,
}

fn lock(dir: &Path) -> Result<Locked> {
    let file = match open_lock(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Locked::Vanished),
        other => other.what(|| format!("cannot open the lock in {}", dir.display()))?,
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Err(_) => Ok(Locked::Theirs),
        Ok(lock) if same_file(&lock, &dir.join("lock")) => Ok(Locked::Ours(lock)),
        Ok(_) => Ok(Locked::Vanished),
    }
}

fn open_lock(dir: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join("lock"))
}

/// Whether the locked file is still the one at `path`: a lock on a removed
/// file says nothing.
fn same_file(locked: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(there)) = (locked.metadata(), fs::metadata(path)) else {
        return false;
    };
    (ours.dev(), ours.ino()) == (there.dev(), there.ino())
}

/// Removes all but the lock.
fn empty(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name() == "lock" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn ensure_base(base: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(base)
        .what(|| format!("cannot make {}", base.display()))?;
    // In a shared /tmp somebody else may have been first.
    let owner = fs::metadata(base)
        .what(|| format!("cannot read {}", base.display()))?
        .uid();
    if owner != Uid::current().as_raw() {
        return Err(Error::BadOption(format!(
            "{} belongs to user {owner}: set XDG_RUNTIME_DIR to a directory of your own",
            base.display()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_once_and_free_again_afterwards() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let base = temp.path().join("runs");
        assert_eq!(presence(&base, "one").expect("look"), Presence::Absent);
        let first = RunDir::create(&base, "one").expect("first");
        assert_eq!(presence(&base, "one").expect("look"), Presence::Live);
        let error = RunDir::create(&base, "one")
            .expect_err("second")
            .to_string();
        assert!(error.contains("already up"), "{error}");
        RunDir::create(&base, "two").expect("another name");
        let path = first.path().to_owned();
        drop(first);
        assert!(!path.exists());
        RunDir::create(&base, "one").expect("again");
    }

    /// Whoever looks for what was left behind, or is on its way out, is neither
    /// an owner nor in the way of one.
    #[test]
    fn a_name_is_one_owners_while_others_come_go_and_look() {
        const OWNERS: usize = 4;
        let temp = tempfile::tempdir().expect("temporary directory");
        let held = AtomicU32::new(0);
        let own = || {
            for _ in 0..100 {
                let run = loop {
                    match RunDir::create(temp.path(), "one") {
                        Ok(run) => break run,
                        Err(Error::AlreadyUp(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                };
                assert_eq!(held.fetch_add(1, Ordering::SeqCst), 0, "two have it");
                for file in 0..20 {
                    fs::write(run.path().join(file.to_string()), "ours").expect("a file");
                }
                thread::yield_now();
                let left = fs::read_dir(run.path()).expect("the directory").count();
                assert_eq!(left, 21, "somebody removes what is ours");
                held.fetch_sub(1, Ordering::SeqCst);
            }
        };
        thread::scope(|scope| {
            let owners = [(); OWNERS].map(|()| scope.spawn(own));
            while !owners.iter().all(|owner| owner.is_finished()) {
                sweep(temp.path());
            }
        });
        assert_eq!(fs::read_dir(temp.path()).expect("the base").count(), 0);
    }

    #[test]
    fn what_a_killed_owner_left_is_swept() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let stale = temp.path().join("stale");
        fs::create_dir_all(stale.join("client")).expect("directory");
        fs::write(stale.join("client/console.log"), "old").expect("file");
        let live = RunDir::create(temp.path(), "live").expect("live");
        sweep(temp.path());
        assert!(!stale.exists());
        assert!(live.path().exists());
    }
}
