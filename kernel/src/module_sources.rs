//! The sources of the out-of-tree module: identity, and a copy to build in.

use rapidswap_cache::Key;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::cache::create_dir;
use crate::error::{Error, Result};

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
pub(crate) struct Sources(Vec<(PathBuf, Vec<u8>)>);

impl Sources {
    pub(crate) fn read(folder: &Path) -> Result<Sources> {
        let mut files = Vec::new();
        collect(folder, Path::new(""), &mut files)?;
        files.sort();
        Ok(Sources(files))
    }

    pub(crate) fn hash(&self, kernel: &str) -> String {
        let mut digest = Key::default();
        digest.part("kernel", kernel);
        for (path, content) in &self.0 {
            digest.part(&path.to_string_lossy(), content);
        }
        digest.finish()
    }

    /// Makes `folder` hold these sources, and of sources only these. What is
    /// there already keeps its time, and products stay, so that make does no
    /// more than it must.
    pub(crate) fn sync(&self, folder: &Path) -> Result<()> {
        create_dir(folder)?;
        let present: BTreeMap<_, _> = Sources::read(folder)?.0.into_iter().collect();
        for path in present.keys() {
            if self.0.iter().all(|(wanted, _)| wanted != path) {
                let path = folder.join(path);
                fs::remove_file(&path).map_err(Error::file("remove", &path))?;
            }
        }
        for (path, content) in &self.0 {
            if present.get(path) != Some(content) {
                let path = folder.join(path);
                create_dir(path.parent().unwrap_or(folder))?;
                fs::write(&path, content).map_err(Error::file("write", &path))?;
            }
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
        dirty.sync(copy.path()).expect("write");
        let copied = Sources::read(copy.path()).expect("read");
        assert_eq!(copied.0, clean.0);
        assert!(!copy.path().join("shim.o").exists());
    }

    #[test]
    fn a_sync_touches_only_what_changed() {
        let folder = folder(&[
            ("Kbuild", "obj-m"),
            ("old/a.c", "old"),
            ("b.c", "b"),
            ("b.o", "x"),
        ]);
        let modified = |name: &str| {
            let metadata = fs::metadata(folder.path().join(name)).expect("it is there");
            metadata.modified().expect("has a time")
        };
        let before = modified("Kbuild");
        let file = |name: &str, content: &str| (PathBuf::from(name), content.into());
        let wanted = Sources(vec![
            file("Kbuild", "obj-m"),
            file("b.c", "new b"),
            file("c/c.c", "c"),
        ]);
        wanted.sync(folder.path()).expect("sync");
        assert_eq!(Sources::read(folder.path()).expect("read").0, wanted.0);
        assert_eq!(modified("Kbuild"), before);
        assert!(folder.path().join("b.o").exists());
    }

    #[test]
    fn a_renamed_file_is_another_module() {
        let (a, b) = (folder(&[("a.c", "x")]), folder(&[("b.c", "x")]));
        let hash = |dir: &tempfile::TempDir| Sources::read(dir.path()).expect("read").hash("k");
        assert_ne!(hash(&a), hash(&b));
    }
}
