//! Out-of-tree modules, built against a kernel of the cache.

use rapidswap_cache::finish;
use rapidswap_progress::Reporter;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

use crate::builder::Builder;
use crate::cache::{create_dir, unfinished};
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::make::{Job, Make};
use crate::module_sources::Sources;
use crate::{Kernel, Variant};

/// Builds the modules in `work`.
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

/// Copies the modules that make says it built to where they are taken from.
fn take(work: &Path, dir: TempDir, place: &Path) -> Result<()> {
    let order = work.join("modules.order");
    let built = fs::read_to_string(&order).map_err(Error::file("read", &order))?;
    if built.is_empty() {
        return Err(Error::modules(
            work,
            "its Kbuild names no module, such as obj-m := NAME.o",
        ));
    }
    for object in built.lines() {
        let module = Path::new(object).with_extension("ko");
        let name = module.file_name().unwrap_or_default();
        fs::copy(&module, dir.path().join(name)).map_err(Error::file("copy", &module))?;
    }
    Ok(finish(dir, place)?)
}

/// The modules in a folder, by name.
fn modules(place: &Path) -> Result<Vec<PathBuf>> {
    let mut modules = Vec::new();
    for entry in fs::read_dir(place).map_err(Error::file("read", place))? {
        modules.push(entry.map_err(Error::file("read", place))?.path());
    }
    modules.sort();
    Ok(modules)
}

/// The same path with more at its end; what a folder's name has behind a dot
/// stays.
fn beside(work: &Path, ending: &str) -> PathBuf {
    let mut path = work.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

/// A folder of modules, and what its products are called by.
fn named(folder: &Path) -> Result<(PathBuf, String)> {
    let folder = fs::canonicalize(folder).map_err(Error::file("find", folder))?;
    if !["Kbuild", "Makefile"]
        .iter()
        .any(|file| folder.join(file).is_file())
    {
        return Err(Error::modules(folder, "it has no Kbuild and no Makefile"));
    }
    let name = folder.file_name().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    Ok((folder, name))
}

impl Builder {
    /// The modules of a folder for a kernel, built now if they are not in the
    /// cache.
    pub(crate) fn modules(
        &self,
        kernel: &Kernel,
        variant: Variant,
        folder: &Path,
        reporter: &Reporter,
    ) -> Result<Vec<PathBuf>> {
        let (folder, name) = named(folder)?;
        let sources = Sources::read(&folder)?;
        if let Some(tree) = &kernel.tree {
            return self.tree_modules(tree, variant, &sources, &name, reporter);
        }
        let hash = sources.hash(&kernel.hash);
        let place = self.cache.modules().join(&hash);
        if place.exists() {
            return modules(&place);
        }
        let source = self.cache.use_source(reporter)?;
        let lock = self.cache.use_build(source, variant, reporter)?;
        if place.exists() {
            return modules(&place);
        }
        let lock = self.ensure_build_dir(variant, &kernel.hash, lock, reporter)?;
        let work = self.module_work(variant, &kernel.hash, &name)?;
        sources.sync(&work)?;
        let make = self.make(&kernel.build);
        compile(&make, &work, beside(&work, ".log"), &lock, reporter)?;
        let dir = unfinished(&self.cache.modules(), variant.name(), &lock)?;
        take(&work, dir, &place)?;
        modules(&place)
    }

    /// The modules for the kernel of a source tree. What it is made of is not
    /// known by a hash, so make has to look each time.
    fn tree_modules(
        &self,
        tree: &Path,
        variant: Variant,
        sources: &Sources,
        name: &str,
        reporter: &Reporter,
    ) -> Result<Vec<PathBuf>> {
        let place = self.cache.tree(tree, variant);
        let lock = Lock::folder(&place, reporter)?;
        let (build, work) = (place.join("build"), place.join(format!("of-{name}")));
        sources.sync(&work)?;
        let make = Make {
            toolchain: &self.toolchain,
            linux: tree.to_owned(),
            build: &build,
        };
        compile(&make, &work, beside(&work, ".log"), &lock, reporter)?;
        let out = beside(&work, ".out");
        take(&work, unfinished(&place, variant.name(), &lock)?, &out)?;
        modules(&out)
    }

    /// Where modules of a variant are built: for the same folder always the
    /// same place, since paths end up in the modules' messages, and emptied for
    /// another kernel.
    fn module_work(&self, variant: Variant, kernel: &str, name: &str) -> Result<PathBuf> {
        let folder = self.cache.modules().join("build");
        let work = folder.join(format!("{}-{name}", variant.name()));
        let stamp = beside(&work, ".kernel");
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
