//! The folder of the patches: what a new series changes there, and doing it.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::cache::create_dir;
use crate::definition::Text;
use crate::edit::export::slug;
use crate::error::{Error, Result};
use crate::lock::Lock;

/// Prefix of directories in which new patches wait until all are written.
const STAGING: &str = ".patches-";

/// What became of a patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// There was none of that name.
    Added(String),
    /// Its content is another, under the same name.
    Changed(String),
    /// Only its number is another: from, to.
    Renamed(String, String),
    /// Its commit is gone.
    Removed(String),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Added(name) => write!(f, "added {name}"),
            Change::Changed(name) => write!(f, "changed {name}"),
            Change::Renamed(from, to) => write!(f, "renamed {from} to {to}"),
            Change::Removed(name) => write!(f, "removed {name}"),
        }
    }
}

/// What makes the new series of the old one, in the order of the new names
/// and then of the old ones.
pub(crate) fn compare(old: &[Text], new: &[Text]) -> Vec<Change> {
    let mut gone: Vec<_> = old.iter().collect();
    let mut take = |fits: &dyn Fn(&Text) -> bool| {
        let at = gone.iter().position(|old| fits(old))?;
        Some(gone.remove(at))
    };
    // Every patch that kept its name is spoken for before any other is taken
    // for one that changed its number.
    let kept: Vec<_> = new
        .iter()
        .map(|new| take(&|old| old.name() == new.name()))
        .collect();
    let mut changes = Vec::new();
    for (new, kept) in new.iter().zip(kept) {
        let name = new.name();
        let moved = |old: &Text| slug(&old.name()) == slug(&name) && old.content == new.content;
        match kept {
            Some(old) if old.content == new.content => {}
            Some(_) => changes.push(Change::Changed(name)),
            None => changes.push(match take(&moved) {
                Some(old) => Change::Renamed(old.name(), name),
                None => Change::Added(name),
            }),
        }
    }
    changes.extend(gone.iter().map(|old| Change::Removed(old.name())));
    changes
}

/// Makes the folder hold the new series. What is new is written whole before
/// anything that is there is touched; what is the same is left alone, and so
/// is all that is no patch.
pub(crate) fn replace(folder: &Path, old: &[Text], new: &[Text], _lock: &Lock) -> Result<()> {
    create_dir(folder)?;
    let parent = folder.parent().unwrap_or(folder);
    remove_leftovers(parent)?;
    let staging = tempfile::Builder::new()
        .prefix(STAGING)
        .tempdir_in(parent)
        .map_err(Error::file("create a directory in", parent))?;
    let differs = |new: &&Text| {
        let mut same = old.iter().filter(|old| old.name() == new.name());
        same.all(|old| old.content != new.content)
    };
    let differing: Vec<_> = new.iter().filter(differs).collect();
    for patch in &differing {
        let path = staging.path().join(patch.name());
        fs::write(&path, &patch.content).map_err(Error::file("write", &path))?;
    }
    for patch in &differing {
        let (from, to) = (staging.path().join(patch.name()), folder.join(patch.name()));
        fs::rename(&from, &to).map_err(Error::file("write", &to))?;
    }
    for patch in old {
        if new.iter().all(|new| new.name() != patch.name()) {
            let path = folder.join(patch.name());
            fs::remove_file(&path).map_err(Error::file("remove", &path))?;
        }
    }
    Ok(())
}

/// What a killed run left; the lock says that it is nobody's any more.
fn remove_leftovers(parent: &Path) -> Result<()> {
    for entry in fs::read_dir(parent).map_err(Error::file("read", parent))? {
        let entry = entry.map_err(Error::file("read", parent))?;
        if entry.file_name().to_string_lossy().starts_with(STAGING) {
            let path = entry.path();
            fs::remove_dir_all(&path).map_err(Error::file("remove", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::series;
    use rapidswap_progress::Reporter;

    fn texts(patches: &[(&str, &str)]) -> Vec<Text> {
        let texts = patches.iter().map(|(name, content)| Text {
            path: name.into(),
            content: (*content).to_owned(),
        });
        texts.collect()
    }

    fn changes(old: &[(&str, &str)], new: &[(&str, &str)]) -> Vec<String> {
        let changes = compare(&texts(old), &texts(new));
        changes.iter().map(Change::to_string).collect()
    }

    #[test]
    fn every_change_has_its_word() {
        let old = [
            ("0001-a.patch", "a"),
            ("0002-b.patch", "b"),
            ("0003-c.patch", "c"),
            ("0004-d.patch", "d"),
        ];
        assert_eq!(changes(&old, &old), [""; 0]);
        let new = [
            ("0001-a.patch", "A"),
            ("0002-new.patch", "n"),
            ("0003-b.patch", "b"),
            ("0004-d.patch", "d"),
        ];
        assert_eq!(
            changes(&old, &new),
            [
                "changed 0001-a.patch",
                "added 0002-new.patch",
                "renamed 0002-b.patch to 0003-b.patch",
                "removed 0003-c.patch",
            ]
        );
    }

    #[test]
    fn two_commits_of_one_subject_are_told_apart() {
        let old = [("0001-a.patch", "x"), ("0002-a.patch", "y")];
        let new = [
            ("0001-new.patch", "n"),
            ("0002-a.patch", "x"),
            ("0003-a.patch", "y"),
        ];
        assert_eq!(
            changes(&old, &new),
            [
                "added 0001-new.patch",
                "changed 0002-a.patch",
                "added 0003-a.patch",
                "removed 0001-a.patch",
            ]
        );
    }

    #[test]
    fn only_what_changed_is_written_and_the_rest_of_the_folder_stays() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let folder = dir.path().join("patches");
        let lock = Lock::folder(dir.path(), &Reporter::silent()).expect("lock");
        let old = texts(&[
            ("0001-a.patch", "a"),
            ("0002-b.patch", "b"),
            ("0003-c.patch", "c"),
        ]);
        replace(&folder, &[], &old, &lock).expect("write");
        fs::write(folder.join("README"), "not a patch").expect("write");
        fs::create_dir(dir.path().join(".patches-killed")).expect("create");
        let modified = |name: &str| {
            let metadata = fs::metadata(folder.join(name)).expect("it is there");
            metadata.modified().expect("has a time")
        };
        let before = modified("0001-a.patch");

        let new = texts(&[("0001-a.patch", "a"), ("0002-c.patch", "C")]);
        replace(&folder, &old, &new, &lock).expect("replace");
        let now = series(&folder).expect("read");
        let contents: Vec<_> = now
            .iter()
            .map(|patch| (patch.name(), &*patch.content))
            .collect();
        assert_eq!(
            contents,
            [
                ("0001-a.patch".to_owned(), "a"),
                ("0002-c.patch".to_owned(), "C")
            ]
        );
        assert_eq!(modified("0001-a.patch"), before);
        assert!(folder.join("README").exists());
        assert_eq!(fs::read_dir(dir.path()).expect("read").count(), 1);
    }
}
