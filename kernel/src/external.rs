//! The out-of-tree module, built against a kernel of the cache.

use rapidswap_progress::Reporter;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

use crate::builder::Builder;
use crate::cache::{create_dir, finish, unfinished};
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::make::{Job, Make};
use crate::module_sources::Sources;
use crate::{Kernel, Variant};

/// File name of the module.
const MODULE: &str = "remoteswap.ko";

/// Builds the module in `work`.
fn compile(
    make: &Make<'_>,
    work: &Path,
    log: PathBuf,
    lock: &Lock,
    reporter: &Reporter,
) -> Result<()> {
    let job = Job {
        what: "module build",
        command: make
            .parallel()
            .arg(format!("M={}", work.display()))
            .arg("modules"),
        dir: work,
        log,
        expect: Duration::from_secs(30),
        steps: None,
    };
    job.run(lock, reporter)
}

/// Copies the module to where it is taken from.
fn take(work: &Path, dir: TempDir, place: &Path) -> Result<()> {
    let built = work.join(MODULE);
    fs::copy(&built, dir.path().join(MODULE)).map_err(Error::file("copy", &built))?;
    finish(dir, place)
}

impl Builder {
    /// The module of this checkout for a kernel, built now if it is not in
    /// the cache.
    pub(crate) fn module(
        &self,
        kernel: &Kernel,
        variant: Variant,
        folder: &Path,
        reporter: &Reporter,
    ) -> Result<PathBuf> {
        let sources = Sources::read(folder)?;
        if let Some(tree) = &kernel.tree {
            return self.tree_module(tree, variant, &sources, reporter);
        }
        let hash = sources.hash(&kernel.hash);
        let place = self.cache.modules().join(&hash);
        let module = place.join(MODULE);
        if module.exists() {
            return Ok(module);
        }
        let lock = self.cache.lock(reporter)?;
        if module.exists() {
            return Ok(module);
        }
        self.ensure_build_dir(variant, &kernel.hash, &lock, reporter)?;
        let work = self.module_work(variant, &kernel.hash)?;
        sources.sync(&work)?;
        let make = self.make(&kernel.build);
        compile(&make, &work, work.with_extension("log"), &lock, reporter)?;
        let dir = unfinished(&self.cache.modules(), &lock)?;
        take(&work, dir, &place)?;
        Ok(module)
    }

    /// The module for the kernel of a source tree. What it is made of is not
    /// known by a hash, so make has to look each time.
    fn tree_module(
        &self,
        tree: &Path,
        variant: Variant,
        sources: &Sources,
        reporter: &Reporter,
    ) -> Result<PathBuf> {
        let place = self.cache.tree(tree, variant);
        let lock = Lock::folder(&place, reporter)?;
        let (build, work) = (place.join("build"), place.join("module"));
        sources.sync(&work)?;
        let make = Make {
            toolchain: &self.toolchain,
            linux: tree.to_owned(),
            build: &build,
        };
        compile(&make, &work, place.join("module.log"), &lock, reporter)?;
        let out = place.join("module.out");
        take(&work, unfinished(&place, &lock)?, &out)?;
        Ok(out.join(MODULE))
    }

    /// Where a variant's module is built: always the same place, since paths
    /// end up in the module's messages, and emptied for another kernel.
    fn module_work(&self, variant: Variant, kernel: &str) -> Result<PathBuf> {
        let folder = self.cache.modules().join("build");
        let (work, stamp) = (
            folder.join(variant.name()),
            folder.join(format!("{}.kernel", variant.name())),
        );
        if fs::read_to_string(&stamp).is_ok_and(|hash| hash == kernel) {
            return Ok(work);
        }
        if work.exists() {
            fs::remove_dir_all(&work).map_err(Error::file("remove", &work))?;
        }
        create_dir(&work)?;
        fs::write(&stamp, kernel).map_err(Error::file("write", &stamp))?;
        Ok(work)
    }
}
