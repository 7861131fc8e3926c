//! A tree that a user edits, for tests.

use rapidswap_progress::Reporter;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::bench::{Bench, read};
use crate::definition::{Text, series};
use crate::edit::edit;
use crate::edit::refresh::refresh;
use crate::error::Result;

/// A bench with a tree to edit, and patches in the form that refresh writes.
pub(crate) struct Desk {
    pub(crate) bench: Bench,
    pub(crate) tree: PathBuf,
    pub(crate) patches: PathBuf,
}

impl Desk {
    pub(crate) fn new() -> Desk {
        let bench = Bench::new();
        let at = |path: &str| bench.dir.path().join(path);
        let (tree, patches) = (at("edit"), at("kernel/patches"));
        let mut desk = Desk {
            bench,
            tree,
            patches,
        };
        desk.edit();
        desk.git(&["commit", "--quiet", "--amend", "--message", "mm: one"]);
        desk.change("other.c", "another\n", "other: two");
        desk.refresh().expect("refreshes");
        assert_eq!(desk.names(), ["0001-mm-one.patch", "0002-other-two.patch"]);
        desk
    }

    pub(crate) fn try_edit(&self) -> Result<PathBuf> {
        let builder = &self.bench.builder;
        edit(
            &builder.definition,
            &builder.cache,
            &self.tree,
            &Reporter::silent(),
        )
    }

    pub(crate) fn edit(&self) {
        assert_eq!(self.try_edit().expect("makes a tree"), self.tree);
    }

    pub(crate) fn refresh(&mut self) -> Result<Vec<String>> {
        let changes = refresh(&self.tree, &self.patches, &Reporter::silent())?;
        self.bench.reload();
        Ok(changes.iter().map(ToString::to_string).collect())
    }

    pub(crate) fn try_git(&self, args: &[&str]) -> Output {
        let mut command = Command::new("git");
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "User");
            command.env(format!("GIT_{role}_EMAIL"), "user@example");
        }
        command.env("GIT_EDITOR", "true");
        command.arg("-C").arg(&self.tree).args(args);
        command.output().expect("git runs")
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        let output = self.try_git(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Writes a file and commits it.
    pub(crate) fn change(&self, file: &str, content: &str, subject: &str) {
        fs::write(self.tree.join(file), content).expect("write");
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", subject]);
    }

    pub(crate) fn texts(&self) -> Vec<Text> {
        series(&self.patches).expect("read")
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.texts().iter().map(Text::name).collect()
    }

    pub(crate) fn file(&self, name: &str) -> String {
        read(&self.tree.join(name))
    }
}
