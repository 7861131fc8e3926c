//! Where finished images are kept: `images/<key>/root.ext4` in the project's
//! cache directory, put there by one rename.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::statvfs::statvfs;
use rapidswap_progress::Reporter;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::{Error, Result};

/// Unfinished builds start like this; nobody else uses the name.
const UNFINISHED: &str = ".build-";

#[derive(Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// `$XDG_CACHE_HOME/rapidswap/images`, by default in `~/.cache`.
    pub(crate) fn open_default() -> Result<Cache> {
        let set = |name| env::var_os(name).filter(|value: &OsString| !value.is_empty());
        let base = set("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache")))
            .ok_or(Error::NoHome)?;
        Cache::open(base.join("rapidswap/images"))
    }

    pub(crate) fn open(directory: PathBuf) -> Result<Cache> {
        fs::create_dir_all(&directory).map_err(Error::file("create", &directory))?;
        Ok(Cache { directory })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the image of `key` is, or would be.
    pub(crate) fn image(&self, key: &str) -> PathBuf {
        self.directory.join(key).join("root.ext4")
    }

    /// Where a failed build's output stays for people to read.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("mmdebstrap.log")
    }

    /// Waits until nobody else builds. Held until dropped.
    pub(crate) fn lock(&self, reporter: &Reporter) -> Result<Flock<File>> {
        let path = self.directory.join("lock");
        let open = || File::create(&path).map_err(Error::file("create", &path));
        if let Ok(lock) = Flock::lock(open()?, FlockArg::LockExclusiveNonblock) {
            return Ok(lock);
        }
        reporter.note("guest image: waiting for another build of it");
        Flock::lock(open()?, FlockArg::LockExclusive)
            .map_err(|(_, errno)| Error::file("lock", &path)(errno.into()))
    }

    /// Removes what killed builds left. Only while holding the lock.
    pub(crate) fn clear_unfinished(&self) {
        for entry in fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                // What cannot be removed only takes room.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// A directory to build in, removed when dropped.
    pub(crate) fn begin(&self) -> Result<TempDir> {
        tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(&self.directory)
            .map_err(Error::file("create a directory in", &self.directory))
    }

    /// Makes the build's `root.ext4` the image at `root`.
    pub(crate) fn finish(&self, build: TempDir, root: &Path) -> Result<()> {
        let Some(home) = root.parent() else {
            return Ok(());
        };
        fs::create_dir_all(home).map_err(Error::file("create", home))?;
        let built = build.path().join("root.ext4");
        File::open(&built)
            .and_then(|file| file.sync_all())
            .map_err(Error::file("write", &built))?;
        fs::rename(&built, root).map_err(Error::file("create", root))
    }
}

/// A name for everything in `groups`, order included.
pub(crate) fn key(groups: &[&[&str]]) -> String {
    let mut hash = Sha256::new();
    for group in groups {
        // Counts and lengths keep different lists from running together.
        hash.update(group.len().to_le_bytes());
        for word in *group {
            hash.update(word.len().to_le_bytes());
            hash.update(word);
        }
    }
    // Short enough for a path, long enough not to collide.
    let mut hex = format!("{:x}", hash.finalize());
    hex.truncate(16);
    hex
}

/// Fails when `path` has less than `needed` bytes for this user.
pub(crate) fn require_space(path: &Path, needed: u64) -> Result<()> {
    let info = statvfs(path).map_err(|errno| Error::file("look at", path)(errno.into()))?;
    let free = info.blocks_available().saturating_mul(info.fragment_size());
    if free >= needed {
        return Ok(());
    }
    Err(Error::Space {
        path: path.to_owned(),
        free_mib: free >> 20,
        needed_mib: needed >> 20,
        variable: if needed == crate::bootstrap::SPACE {
            "TMPDIR"
        } else {
            "XDG_CACHE_HOME"
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unfinished_builds_go_and_images_stay() {
        let home = tempfile::tempdir().expect("temporary directory");
        let cache = Cache::open(home.path().join("images")).expect("cache");
        let killed = cache.begin().expect("build").keep();
        let build = cache.begin().expect("build");
        fs::write(build.path().join("root.ext4"), "image").expect("write");
        let root = cache.image("abc");
        cache.finish(build, &root).expect("finished");
        cache.clear_unfinished();
        assert!(!killed.exists());
        assert_eq!(fs::read_to_string(&root).expect("image"), "image");
    }

    #[test]
    fn one_build_at_a_time() {
        let home = tempfile::tempdir().expect("temporary directory");
        let cache = Cache::open(home.path().into()).expect("cache");
        let lock = cache.lock(&Reporter::silent()).expect("lock");
        let second = File::create(home.path().join("lock")).expect("lock file");
        assert!(Flock::lock(second, FlockArg::LockExclusiveNonblock).is_err());
        drop(lock);
        cache.lock(&Reporter::silent()).expect("free again");
    }

    #[test]
    fn a_full_disk_is_one_clear_line() {
        let home = tempfile::tempdir().expect("temporary directory");
        let error = require_space(home.path(), u64::MAX).expect_err("too much");
        assert!(error.to_string().contains("MiB free"), "{error}");
    }

    proptest! {
        #[test]
        fn words_do_not_run_together(a in "[a-z]{1,4}", b in "[a-z]{1,4}") {
            let joined = format!("{a}{b}");
            prop_assert_ne!(key(&[&[&a, &b]]), key(&[&[&joined]]));
            prop_assert_ne!(key(&[&[&a], &[&b]]), key(&[&[&a, &b]]));
        }
    }
}
