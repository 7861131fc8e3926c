//! One repository's objects for another, without a second copy on disk.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::cache::create_dir;
use crate::error::{Error, Result};

/// Gives the object directory `to` all that `from` has. Hard links rather than
/// `alternates`: `from` may be replaced at any time, and with it would go what
/// the commits of the other repository consist of.
pub(crate) fn share(from: &Path, to: &Path) -> Result<()> {
    create_dir(to)?;
    for entry in fs::read_dir(from).map_err(Error::file("read", from))? {
        let entry = entry.map_err(Error::file("read", from))?;
        let (source, place) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(Error::file("examine", &source))?;
        if kind.is_dir() {
            // What is in info speaks of its own repository.
            if entry.file_name() != "info" {
                share(&source, &place)?;
            }
        } else if !entry.file_name().to_string_lossy().starts_with("tmp_") {
            link(&source, &place).map_err(Error::file("link", &place))?;
        }
    }
    Ok(())
}

fn link(source: &Path, place: &Path) -> io::Result<()> {
    match fs::hard_link(source, place) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        // Another file system, or one that knows no links.
        Err(_) => {
            let half = place.with_extension("tmp");
            fs::copy(source, &half)?;
            fs::rename(half, place)
        }
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn objects_are_shared_and_survive_their_source() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        for folder in ["ab", "info", "pack"] {
            fs::create_dir_all(from.join(folder)).expect("create");
        }
        for file in ["ab/cdef", "ab/tmp_obj_x", "info/packs", "pack/p.pack"] {
            fs::write(from.join(file), file).expect("write");
        }
        fs::create_dir_all(to.join("ab")).expect("create");
        fs::write(to.join("ab/own"), "own").expect("write");
        share(&from, &to).expect("share");
        share(&from, &to).expect("and once more");
        let inode = |path: &Path| fs::metadata(path).expect("it is there").ino();
        assert_eq!(inode(&from.join("ab/cdef")), inode(&to.join("ab/cdef")));
        fs::remove_dir_all(&from).expect("remove");
        let read = |file: &str| fs::read_to_string(to.join(file)).expect("read");
        for file in ["ab/cdef", "pack/p.pack"] {
            assert_eq!(read(file), file);
        }
        assert_eq!(read("ab/own"), "own");
        assert!(!to.join("info/packs").exists() && !to.join("ab/tmp_obj_x").exists());
    }
}
