//! The kernel of a source tree that somebody edits, built as far as it
//! changed.

use rapidswap_cache::{Key, finish};
use rapidswap_progress::Reporter;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::builder::Builder;
use crate::cache::{create_dir, unfinished};
use crate::configure::decides;
use crate::digest::sha256_of;
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::make::Make;
use crate::source;
use crate::{Kernel, Variant};

impl Builder {
    /// Builds a tree in the `O=` directory that it has in the cache; the time
    /// counts from `started`.
    pub(crate) fn build_tree(
        &self,
        dir: &Path,
        variant: Variant,
        started: Instant,
        reporter: &Reporter,
    ) -> Result<Kernel> {
        let tree = self.source_tree(dir)?;
        self.toolchain.check_headers()?;
        let place = self.cache.tree(&tree, variant);
        let (build, out) = (place.join("build"), place.join("out"));
        create_dir(&build)?;
        let lock = Lock::folder(&place, reporter)?;
        variant.require_space(&build)?;
        let make = Make {
            toolchain: &self.toolchain,
            linux: tree.clone(),
            build: &build,
        };
        make.configure(&self.definition.fragments(variant)?, inputs(&tree)?, &lock)?;
        make.compile(variant, place.join("build.log"), &lock, reporter)?;
        let dir = unfinished(&place, variant.name(), &lock)?;
        make.collect(dir.path())?;
        let hash = hash(dir.path())?;
        let cached = out.exists() && self::hash(&out).is_ok_and(|present| present == hash);
        if !cached {
            finish(dir, &out)?;
        }
        let kernel = Kernel::collected(&out, started)
            .ok_or_else(|| Error::tree(&out, "has vanished: build again"))?;
        Ok(Kernel {
            build,
            tree: Some(tree),
            hash,
            cached,
            ..kernel
        })
    }

    /// The whole path of a tree that can be built with our configuration.
    fn source_tree(&self, dir: &Path) -> Result<PathBuf> {
        let tree = fs::canonicalize(dir).map_err(Error::file("find", dir))?;
        if !tree.join("Kconfig").exists() || !tree.join("Makefile").exists() {
            return Err(Error::tree(tree, "is no source tree of Linux"));
        }
        let version = source::version(&tree)?;
        let line = &self.definition.sources.line;
        if !version.starts_with(&format!("{line}.")) {
            return Err(Error::WrongLine {
                path: tree,
                found: version,
                line: line.clone(),
            });
        }
        let mut marks = [".config", "include/config", "arch/x86/include/generated"].iter();
        if let Some(mark) = marks.find(|mark| tree.join(mark).exists()) {
            let why = format!(
                "was built in place ({mark} is there), which kbuild cannot do with O= as well: \
                 save what you need of it and run make mrproper there"
            );
            return Err(Error::tree(tree, why));
        }
        Ok(tree)
    }
}

/// What Kconfig reads in a working tree.
fn inputs(tree: &Path) -> Result<Key> {
    let mut paths = Vec::new();
    walk(tree, "", &mut paths)?;
    paths.sort();
    let mut digest = Key::default();
    for path in paths {
        let file = tree.join(&path);
        let content = fs::read(&file).map_err(Error::file("read", &file))?;
        digest.part(&path, content);
    }
    Ok(digest)
}

fn walk(tree: &Path, below: &str, paths: &mut Vec<String>) -> Result<()> {
    let folder = tree.join(below);
    for entry in fs::read_dir(&folder).map_err(Error::file("read", &folder))? {
        let entry = entry.map_err(Error::file("read", &folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry
            .file_type()
            .map_err(Error::file("examine", entry.path()))?;
        let path = format!("{below}{name}");
        if name.starts_with('.') {
            continue;
        } else if kind.is_dir() {
            walk(tree, &format!("{path}/"), paths)?;
        } else if kind.is_file() && decides(&path) {
            paths.push(path);
        }
    }
    Ok(())
}

/// Identity of a finished kernel.
fn hash(out: &Path) -> Result<String> {
    let mut files = vec![out.join("vmlinux"), out.join("config"), out.join("release")];
    let modules = out.join("modules");
    for entry in fs::read_dir(&modules).map_err(Error::file("read", &modules))? {
        files.push(entry.map_err(Error::file("read", &modules))?.path());
    }
    files[3..].sort();
    let mut digest = Key::default();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        digest.part(&name, sha256_of(&file)?);
    }
    Ok(digest.finish())
}
