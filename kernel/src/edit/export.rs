//! Commits as patches, in the one form that `kernel/patches` has.

use std::fs;
use tempfile::TempDir;

use crate::definition::{Text, series};
use crate::error::{Error, Result};
use crate::git::Tree;

/// Patches in a directory that lives as long as this.
pub(crate) struct Export {
    pub(crate) patches: Vec<Text>,
    _scratch: TempDir,
}

/// The commits from `base` to `head` as patches. One that is the same as an
/// `old` one has its very bytes.
pub(crate) fn export(tree: &Tree<'_>, base: &str, head: &str, old: &[Text]) -> Result<Export> {
    let scratch = tempfile::tempdir().map_err(Error::file("create", "a temporary directory"))?;
    // How far git abbreviates depends on how many objects there are.
    tree.git(["-c", "core.abbrev=7", "format-patch", "--quiet"])
        .arg("--no-signature")
        .arg("--zero-commit")
        .arg("--no-numbered")
        .arg("--output-directory")
        .arg(scratch.path())
        .arg(format!("{base}..{head}"))
        .text()?;
    let mut patches = series(scratch.path())?;
    for patch in &mut patches {
        let same = |old: &&Text| slug(&old.name()) == slug(&patch.name()) && equal(old, patch);
        if let Some(old) = old.iter().find(same) {
            patch.content = old.content.clone();
            fs::write(&patch.path, &patch.content).map_err(Error::file("write", &patch.path))?;
        }
    }
    Ok(Export {
        patches,
        _scratch: scratch,
    })
}

/// A patch's file name without its number.
pub(crate) fn slug(name: &str) -> &str {
    let rest = name.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.strip_prefix('-').unwrap_or(name)
}

/// Whether two patches differ in nothing but the length of abbreviated object
/// names, which another repository may need longer.
fn equal(a: &Text, b: &Text) -> bool {
    let (mut a, mut b) = (a.content.split('\n'), b.content.split('\n'));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b || same_objects(a, b) => {}
            _ => return false,
        }
    }
}

/// Whether these are both `index OLD..NEW MODE` and name the same objects.
fn same_objects(a: &str, b: &str) -> bool {
    fn fields(line: &str) -> Option<(&str, &str, &str)> {
        let line = line.strip_prefix("index ")?;
        let (names, mode) = line.split_once(' ').unwrap_or((line, ""));
        let (old, new) = names.split_once("..")?;
        Some((old, new, mode))
    }
    let fit =
        |a: &str, b: &str| a.len().min(b.len()) >= 7 && (a.starts_with(b) || b.starts_with(a));
    match (fields(a), fields(b)) {
        (Some(a), Some(b)) => fit(a.0, b.0) && fit(a.1, b.1) && a.2 == b.2,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(content: &str) -> Text {
        Text {
            path: "0001-x.patch".into(),
            content: content.to_owned(),
        }
    }

    #[test]
    fn a_longer_abbreviation_is_no_change() {
        let short = text("index ad8cc59..7355627 100644\n--- a/x\n");
        for same in [
            "index ad8cc59..7355627 100644\n--- a/x\n",
            "index ad8cc59a..73556271 100644\n--- a/x\n",
        ] {
            assert!(equal(&short, &text(same)), "{same}");
        }
        for other in [
            "index ad8cc59..7355628 100644\n--- a/x\n",
            "index ad8cc59..7355627 100755\n--- a/x\n",
            "index ad8cc59..7355627 100644\n--- a/y\n",
            "index ad8cc59..7355627 100644\n--- a/x",
            "index a..7 100644\n--- a/x\n",
        ] {
            assert!(!equal(&short, &text(other)), "{other}");
        }
    }

    #[test]
    fn a_slug_is_a_name_without_its_number() {
        assert_eq!(slug("0012-mm-x.patch"), "mm-x.patch");
        assert_eq!(slug("9p-x.patch"), "9p-x.patch");
        assert_eq!(slug("mm-x.patch"), "mm-x.patch");
    }
}
