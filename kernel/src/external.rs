//! The out-of-tree module, built against a kernel of the cache.

use rapidswap_progress::Reporter;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::builder::Builder;
use crate::cache::{create_dir, finish, unfinished};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::make::Job;
use crate::{Kernel, Variant};

/// File name of the module.
const MODULE: &str = "remoteswap.ko";

/// Endings of what a build by hand may have left between the sources.
const PRODUCTS: [&str; 9] = [
    ".o",
    ".ko",
    ".mod",
    ".mod.c",
    ".cmd",
    ".a",
    ".symvers",
    ".order",
    "_generated.rs",
];

/// The sources below a folder, by relative path, in a fixed order.
#[derive(Debug)]
struct Sources(Vec<(PathBuf, Vec<u8>)>);

impl Sources {
    fn read(folder: &Path) -> Result<Sources> {
        let mut files = Vec::new();
        collect(folder, Path::new(""), &mut files)?;
        files.sort();
        Ok(Sources(files))
    }

    fn hash(&self, kernel: &str) -> String {
        let mut digest = Digest::new();
        digest.part("kernel", kernel);
        for (path, content) in &self.0 {
            digest.part(&path.to_string_lossy(), content);
        }
        digest.finish()
    }

    fn write(&self, folder: &Path) -> Result<()> {
        for (path, content) in &self.0 {
            let path = folder.join(path);
            create_dir(path.parent().unwrap_or(folder))?;
            fs::write(&path, content).map_err(Error::file("write", &path))?;
        }
        Ok(())
    }
}

fn collect(root: &Path, below: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) -> Result<()> {
    let folder = root.join(below);
    for entry in fs::read_dir(&folder).map_err(Error::file("read", &folder))? {
        let entry = entry.map_err(Error::file("read", &folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = below.join(&name);
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if root.join(&path).is_dir() {
            collect(root, &path, files)?;
        } else if !PRODUCTS.iter().any(|ending| name.ends_with(ending)) {
            let content = fs::read(root.join(&path)).map_err(Error::file("read", &path))?;
            files.push((path, content));
        }
    }
    Ok(())
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
        let dir = unfinished(&self.cache.modules(), &lock)?;
        let work = dir.path().join("build");
        sources.write(&work)?;
        let job = Job {
            what: "module build",
            command: self
                .make(&kernel.build)
                .parallel()
                .arg(format!("M={}", work.display()))
                .arg("modules"),
            dir: &work,
            log: self.cache.modules().join("build.log"),
            expect: Duration::from_secs(30),
            steps: None,
        };
        job.run(&lock, reporter)?;
        let built = dir.path().join(MODULE);
        fs::rename(work.join(MODULE), &built).map_err(Error::file("find", MODULE))?;
        fs::remove_dir_all(&work).map_err(Error::file("remove", &work))?;
        finish(dir, &place)?;
        Ok(module)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("temporary directory");
        for (path, content) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("has one")).expect("create");
            fs::write(path, content).expect("write");
        }
        dir
    }

    #[test]
    fn products_are_neither_hashed_nor_copied() {
        let clean = folder(&[("Kbuild", "obj-m"), ("logic/src/lib.rs", "//!")]);
        let dirty = folder(&[
            ("Kbuild", "obj-m"),
            ("logic/src/lib.rs", "//!"),
            ("shim.o", "x"),
            (".shim.o.cmd", "x"),
            ("remoteswap.mod.c", "x"),
            ("logic/target/debug/x.rs", "x"),
        ]);
        let (clean, dirty) = (Sources::read(clean.path()), Sources::read(dirty.path()));
        let (clean, dirty) = (clean.expect("read"), dirty.expect("read"));
        assert_eq!(clean.hash("k"), dirty.hash("k"));
        assert_ne!(clean.hash("k"), clean.hash("l"));

        let copy = tempfile::tempdir().expect("temporary directory");
        dirty.write(copy.path()).expect("write");
        let copied = Sources::read(copy.path()).expect("read");
        assert_eq!(copied.0, clean.0);
        assert!(!copy.path().join("shim.o").exists());
    }

    #[test]
    fn a_renamed_file_is_another_module() {
        let (a, b) = (folder(&[("a.c", "x")]), folder(&[("b.c", "x")]));
        let hash = |dir: &tempfile::TempDir| Sources::read(dir.path()).expect("read").hash("k");
        assert_ne!(hash(&a), hash(&b));
    }
}
