//! What is known about a tree that is edited, kept in its `.git`.

use rapidswap_cache::Key;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::definition::Text;
use crate::error::{Error, Result};
use crate::git::{BASE, Tree};

/// Name of the file inside `.git`.
const FILE: &str = "rapidswap.json";

/// When tree and patches last were the same.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct State {
    /// HEAD then; none while the tree is still being made.
    pub(crate) head: Option<String>,
    /// Digest of the patches then.
    pub(crate) patches: String,
    /// Newer patches, laid ready in a tree that had work of its own.
    pub(crate) offered: Option<Offered>,
    /// The patches are being replaced: until that is done they may be partly
    /// the old ones and partly the new ones.
    pub(crate) refreshing: bool,
}

/// Patches as commits that the user may rebase onto.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Offered {
    pub(crate) commit: String,
    pub(crate) base: String,
    pub(crate) patches: String,
}

impl State {
    /// The state of a tree; none if the directory is no such tree.
    pub(crate) fn read(dir: &Path) -> Result<Option<State>> {
        let path = dir.join(".git").join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(Error::file("read", path)(error)),
        };
        let state = serde_json::from_slice(&bytes);
        let state = state.map_err(|error| Error::file("read", path)(error.into()))?;
        Ok(Some(state))
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(".git").join(FILE);
        let half = path.with_extension("new");
        let json =
            serde_json::to_vec(self).map_err(|error| Error::file("write", &path)(error.into()))?;
        fs::write(&half, json).map_err(Error::file("write", &half))?;
        fs::rename(&half, &path).map_err(Error::file("rename", &half))
    }

    /// Takes note that the user has rebased onto what was offered.
    pub(crate) fn follow_rebase(&mut self, tree: &Tree<'_>) -> Result<()> {
        let Some(offered) = &self.offered else {
            return Ok(());
        };
        if !tree.descends("HEAD", &offered.commit)? {
            return Ok(());
        }
        tree.set_ref(&format!("refs/tags/{BASE}"), &offered.base)?;
        self.head = Some(offered.commit.clone());
        self.patches = offered.patches.clone();
        self.offered = None;
        self.write(tree.0)
    }
}

/// Identity of a series: names and contents.
pub(crate) fn digest(series: &[Text]) -> String {
    let mut digest = Key::default();
    for patch in series {
        digest.part(&patch.name(), &patch.content);
    }
    digest.finish()
}

/// What git is in the middle of: HEAD is then not what the user means.
pub(crate) fn under_way(dir: &Path) -> Option<&'static str> {
    const MARKS: [(&str, &str); 6] = [
        ("rebase-merge", "a rebase"),
        ("rebase-apply", "a rebase or git am"),
        ("MERGE_HEAD", "a merge"),
        ("CHERRY_PICK_HEAD", "a cherry-pick"),
        ("REVERT_HEAD", "a revert"),
        ("BISECT_START", "a bisection"),
    ];
    let mut marks = MARKS.iter();
    let (_, what) = marks.find(|(file, _)| dir.join(".git").join(file).exists())?;
    Some(what)
}

/// Files with changes that are in no commit, in words; none if there are none.
pub(crate) fn uncommitted(tree: &Tree<'_>) -> Result<Option<String>> {
    let status = tree
        .git(["status", "--porcelain", "--untracked-files=normal"])
        .text()?;
    let mut lines = status.lines();
    let Some(first) = lines.next() else {
        return Ok(None);
    };
    let path = first.trim_start().split_once(' ');
    let path = path.map_or(first, |(_, path)| path.trim_start());
    Ok(Some(match lines.count() {
        0 => format!("{path} is not committed"),
        more => format!("{path} and {more} more are not committed"),
    }))
}
