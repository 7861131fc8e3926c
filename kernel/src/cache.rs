//! Where things lie on disk, who may change them, and whether they fit.

use rapidswap_cache::{ELSEWHERE, Key};
use rapidswap_progress::Reporter;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

use crate::Variant;
use crate::error::{Error, Result};
use crate::lock::Lock;

/// The cache directory that all checkouts of one user share.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    pub(crate) fn open_default() -> Result<Cache> {
        Ok(Cache::at(rapidswap_cache::root()?))
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
        let mut digest = Key::default();
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
    Ok(rapidswap_cache::unfinished(parent, owner)?)
}

pub(crate) fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Error::file("create", path))
}

/// Refuses to start what would fill the disk.
pub(crate) fn require_space(path: &Path, needs: u64) -> Result<()> {
    Ok(rapidswap_cache::require_space(path, needs, ELSEWHERE)?)
}
