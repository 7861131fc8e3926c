//! Where finished images are kept: `images/<key>/root.ext4` in the project's
//! cache directory, put there by one rename.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use rapidswap_cache::Key;
use rapidswap_progress::Reporter;
use tempfile::TempDir;

use crate::{Error, Result};

#[derive(Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
}

impl Cache {
    pub(crate) fn open_default() -> Result<Cache> {
        Cache::open(rapidswap_cache::root()?.join("images"))
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

    /// A directory to build in, removed when dropped, as is what killed builds
    /// left. Only while holding the lock.
    pub(crate) fn begin(&self) -> Result<TempDir> {
        Ok(rapidswap_cache::unfinished(&self.directory, "image")?)
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
    let mut key = Key::default();
    for group in groups {
        key.list(group);
    }
    let mut name = key.finish();
    // With more of it every image would be built anew.
    name.truncate(16);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_builds_go_and_images_stay() {
        let home = tempfile::tempdir().expect("temporary directory");
        let cache = Cache::open(home.path().join("images")).expect("cache");
        let killed = cache.begin().expect("build").keep();
        let build = cache.begin().expect("build");
        fs::write(build.path().join("root.ext4"), "image").expect("write");
        let root = cache.image("abc");
        cache.finish(build, &root).expect("finished");
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
}
