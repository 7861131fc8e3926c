//! Things come into the cache by one rename, so that none is there half.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::{Error, Result};

/// How the names of directories begin that are still being filled.
pub const UNFINISHED: &str = ".unfinished-";

/// A directory in `parent` to be filled and then [`finish`]ed; removed
/// otherwise. An `owner` fills one at a time, for which the caller has a lock:
/// what an earlier one left that was killed is removed.
pub fn unfinished(parent: &Path, owner: &str) -> Result<TempDir> {
    fs::create_dir_all(parent).map_err(Error::file("create", parent))?;
    let prefix = format!("{UNFINISHED}{owner}-");
    let entries = fs::read_dir(parent).map_err(Error::file("read", parent))?;
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            // What cannot be removed only takes room.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(parent)
        .map_err(Error::file("create a directory in", parent))
}

/// Renames a filled directory into place. What was there goes out of the way
/// by a rename too, so that a kill leaves the old one, the new one or none.
pub fn finish(dir: TempDir, place: &Path) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_of_who_was_killed_are_removed_and_those_of_others_are_not() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let out = dir.path().join("out");
        let killed = unfinished(&out, "release").expect("create").keep();
        fs::write(killed.join("vmlinux"), "half").expect("write");
        let place = out.join("finished");
        fs::create_dir(&place).expect("create");
        fs::write(place.join("vmlinux"), "old").expect("write");
        let other = unfinished(&out, "debug").expect("create");

        let next = unfinished(&out, "release").expect("create");
        assert!(!killed.exists());
        assert!(other.path().exists());
        fs::write(next.path().join("vmlinux"), "whole").expect("write");
        finish(next, &place).expect("rename");
        let vmlinux = fs::read_to_string(place.join("vmlinux"));
        assert_eq!(vmlinux.expect("read"), "whole");
        let left = fs::read_dir(&out).expect("read").count();
        assert_eq!(left, 2, "more than the finished one and the other's");
    }
}
