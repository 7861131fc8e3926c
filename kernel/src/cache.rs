//! Where things lie on disk, who may change them, and whether they fit.

use nix::sys::statvfs::statvfs;
use rapidswap_progress::Reporter;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

use crate::Variant;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::lock::Lock;

/// Prefix of directories that are still being filled.
const UNFINISHED: &str = ".unfinished-";

/// The cache directory that all checkouts of one user share.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$XDG_CACHE_HOME/rapidswap`, by default `~/.cache/rapidswap`.
    pub(crate) fn open_default() -> Result<Cache> {
        let absolute = |name| {
            env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let root = absolute("XDG_CACHE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
            .ok_or(Error::NoCache)?;
        Ok(Cache::at(root.join("rapidswap")))
    }

    pub(crate) fn at(root: PathBuf) -> Cache {
        Cache { root }
    }

    /// Programs that `./just` installed.
    pub(crate) fn tools(&self) -> PathBuf {
        self.root.join("tools/bin")
    }

    pub(crate) fn kernel(&self) -> PathBuf {
        self.root.join("kernel")
    }

    /// The source tree, a git repository.
    pub(crate) fn linux(&self) -> PathBuf {
        self.kernel().join("linux")
    }

    /// The tree that is edited, unless the user names another place.
    pub(crate) fn edit(&self) -> PathBuf {
        self.kernel().join("edit")
    }

    pub(crate) fn tarballs(&self) -> PathBuf {
        self.kernel().join("tarballs")
    }

    /// Finished kernels by hash.
    pub(crate) fn out(&self) -> PathBuf {
        self.kernel().join("out")
    }

    /// The `O=` directory.
    pub(crate) fn build(&self, variant: Variant) -> PathBuf {
        self.kernel().join("build").join(variant.name())
    }

    pub(crate) fn log(&self, variant: Variant) -> PathBuf {
        self.kernel()
            .join("build")
            .join(format!("{}.log", variant.name()))
    }

    /// What is built of a source tree that somebody edits: its `O=` directory,
    /// and what came out last.
    pub(crate) fn tree(&self, dir: &Path, variant: Variant) -> PathBuf {
        let mut digest = Digest::new();
        digest.part("tree", dir.as_os_str().as_encoded_bytes());
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{name}-{}", digest.finish());
        self.kernel().join("tree").join(name).join(variant.name())
    }

    /// Finished out-of-tree modules by hash.
    pub(crate) fn modules(&self) -> PathBuf {
        self.root.join("module")
    }

    /// Packages of kernels, by their kernel's hash.
    pub(crate) fn packages(&self) -> PathBuf {
        self.kernel().join("packages")
    }

    /// Waits until nobody changes the source tree; it stays as it is then.
    pub(crate) fn use_source(&self, reporter: &Reporter) -> Result<Lock> {
        let note = "waiting for another program to be done with changing the kernel source";
        Lock::shared(&self.source_lock()?, note, reporter)
    }

    /// Waits until nothing is built from the source tree, so that it may change.
    pub(crate) fn change_source(&self, reporter: &Reporter) -> Result<Lock> {
        let note = "waiting for builds from the kernel source as it is now to end: this one needs \
                    another";
        Lock::alone(&self.source_lock()?, note, reporter)
    }

    fn source_lock(&self) -> Result<PathBuf> {
        create_dir(&self.kernel())?;
        Ok(self.kernel().join("lock"))
    }

    /// Waits until nobody else builds in a variant's `O=` directory; only for
    /// who uses the source tree.
    pub(crate) fn use_build(
        &self,
        source: Lock,
        variant: Variant,
        reporter: &Reporter,
    ) -> Result<Lock> {
        let build = self.build(variant);
        create_dir(build.parent().unwrap_or(&build))?;
        let name = variant.name();
        let note = format!("waiting for another build of the {name} kernel to end");
        // Beside the directory, which goes when the source is another one.
        let lock = Lock::alone(&build.with_extension("lock"), &note, reporter)?;
        Ok(source.and(lock))
    }
}

/// A directory to be filled and then renamed into place; removed otherwise.
/// The lock is that of its `owner`, who fills one at a time.
pub(crate) fn unfinished(parent: &Path, owner: &str, _lock: &Lock) -> Result<TempDir> {
    create_dir(parent)?;
    let prefix = format!("{UNFINISHED}{owner}-");
    // What an earlier build left that was killed; the lock says that none of
    // it is in use.
    for entry in fs::read_dir(parent).map_err(Error::file("read", parent))? {
        let entry = entry.map_err(Error::file("read", parent))?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            fs::remove_dir_all(entry.path()).map_err(Error::file("remove", entry.path()))?;
        }
    }
    tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(parent)
        .map_err(Error::file("create a directory in", parent))
}

/// Renames a filled directory into place. What was there goes out of the way
/// by a rename too, so that a kill leaves the old one, the new one or none.
pub(crate) fn finish(dir: TempDir, place: &Path) -> Result<()> {
    let dir = dir.keep();
    let old = dir.with_extension("old");
    let replaced = place.exists();
    if replaced {
        fs::rename(place, &old).map_err(Error::file("move away", place))?;
    }
    fs::rename(&dir, place).map_err(Error::file("rename into", place))?;
    if replaced {
        fs::remove_dir_all(&old).map_err(Error::file("remove", &old))?;
    }
    Ok(())
}

pub(crate) fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Error::file("create", path))
}

/// Refuses to start what would fill the disk.
pub(crate) fn require_space(path: &Path, needs: u64) -> Result<()> {
    let stat = statvfs(path).map_err(|errno| Error::file("examine", path)(errno.into()))?;
    let free = stat.blocks_available() * stat.fragment_size();
    check_space(path, needs, free)
}

fn check_space(path: &Path, needs: u64, free: u64) -> Result<()> {
    if free >= needs {
        return Ok(());
    }
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    Err(Error::Space {
        path: path.to_owned(),
        needs_gib: gib(needs),
        free_gib: gib(free),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_one_clear_line() {
        let error = check_space(Path::new("/cache"), 6 << 30, 1 << 29).expect_err("too full");
        assert_eq!(
            error.to_string(),
            "not enough disk space in /cache: 6.0 GiB needed, 0.5 GiB free; \
             free some or point XDG_CACHE_HOME at a larger disk"
        );
        check_space(Path::new("/cache"), 5, 5).expect("it just fits");
    }

    #[test]
    fn leftovers_of_killed_builds_are_removed_and_those_of_others_are_not() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let cache = Cache::at(dir.path().to_owned());
        let lock = |variant| {
            let source = cache.use_source(&Reporter::silent()).expect("lock");
            let lock = cache.use_build(source, variant, &Reporter::silent());
            lock.expect("lock")
        };
        let (release, debug) = (lock(Variant::Release), lock(Variant::Debug));
        let begin = |variant: Variant, lock| unfinished(&cache.out(), variant.name(), lock);
        let killed = begin(Variant::Release, &release).expect("create").keep();
        fs::write(killed.join("vmlinux"), "half").expect("write");
        fs::create_dir(cache.out().join("finished")).expect("create");
        let other = begin(Variant::Debug, &debug).expect("create");

        let next = begin(Variant::Release, &release).expect("create");
        assert!(!killed.exists());
        assert!(other.path().exists());
        assert!(cache.out().join("finished").exists());
        fs::write(next.path().join("vmlinux"), "whole").expect("write");
        let place = cache.out().join("finished");
        finish(next, &place).expect("rename");
        assert_eq!(
            fs::read_to_string(place.join("vmlinux")).expect("read"),
            "whole"
        );
    }
}
