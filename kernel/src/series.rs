//! The patch series as commits on the pristine tree.
//!
//! Applied in a temporary index, so that the working tree is touched only
//! where the result differs from what is checked out: make then rebuilds
//! what a patch changed and nothing else.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

use crate::cache::Lock;
use crate::definition::Text;
use crate::error::{Error, Result};
use crate::guarded::{Guarded, ending};

/// Tag of the pristine tree.
pub(crate) const BASE: &str = "base";

/// Makes git independent of the user's configuration, and commits equal where
/// their contents are.
pub(crate) const GIT_ENVIRONMENT: [(&str, &str); 8] = [
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_AUTHOR_NAME", "Rapidswap"),
    ("GIT_AUTHOR_EMAIL", "rapidswap@localhost"),
    ("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z"),
    ("GIT_COMMITTER_NAME", "Rapidswap"),
    ("GIT_COMMITTER_EMAIL", "rapidswap@localhost"),
    ("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z"),
];

/// A git repository that holds a kernel tree.
pub(crate) struct Tree<'a>(pub(crate) &'a Path);

impl Tree<'_> {
    /// Commits the series on top of the pristine tree and returns the last
    /// commit. Nothing is checked out yet.
    pub(crate) fn commit(&self, series: &[Text], version: &str) -> Result<String> {
        let scratch = tempfile::tempdir().map_err(Error::file("create", "a temporary index"))?;
        let index = scratch.path().join("index");
        self.git(&index, &["read-tree", BASE])?;
        let mut head = self.resolve(BASE)?;
        for patch in series {
            let output = self.output(
                &index,
                [
                    OsStr::new("apply"),
                    OsStr::new("--cached"),
                    OsStr::new("--whitespace=nowarn"),
                    patch.path.as_os_str(),
                ],
            )?;
            if !output.status.success() {
                return Err(Error::Patch {
                    patch: patch.name(),
                    version: version.to_owned(),
                    why: complaint(&output),
                });
            }
            let tree = self.git(&index, &["write-tree"])?;
            head = self.git(
                &index,
                &["commit-tree", &tree, "-p", &head, "-m", &subject(patch)],
            )?;
        }
        Ok(head)
    }

    /// Checks a commit out; only files that differ are written.
    pub(crate) fn check_out(&self, commit: &str, lock: &Lock) -> Result<()> {
        // Nobody else is at work here, so a lock is a killed git's.
        let stale = self.0.join(".git/index.lock");
        if stale.exists() {
            std::fs::remove_file(&stale).map_err(Error::file("remove", stale))?;
        }
        git_command()
            .args(["checkout", "--quiet", "--force", "--detach", commit])
            .run("checking the patched source out", self.0, lock)
    }

    /// The files of a commit with their contents' hashes, one on each line.
    pub(crate) fn files(&self, commit: &str) -> Result<String> {
        self.git(Path::new(""), &["ls-tree", "-r", "--full-tree", commit])
    }

    /// The commit that a name stands for.
    pub(crate) fn resolve(&self, name: &str) -> Result<String> {
        self.git(
            Path::new(""),
            &["rev-parse", "--verify", &format!("{name}^{{commit}}")],
        )
    }

    fn git(&self, index: &Path, args: &[&str]) -> Result<String> {
        let output = self.output(index, args)?;
        if !output.status.success() {
            return Err(Error::Command {
                what: format!("git {} in {}", args[0], self.0.display()),
                status: ending(output.status),
                why: complaint(&output),
            });
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn output(
        &self,
        index: &Path,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<Output> {
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(self.0)
            .args(args)
            .envs(GIT_ENVIRONMENT);
        if !index.as_os_str().is_empty() {
            command.env("GIT_INDEX_FILE", index);
        }
        command.output().map_err(Error::file("run", "git"))
    }
}

/// git as a long-running command.
pub(crate) fn git_command() -> Guarded {
    let mut command = Guarded::new("git");
    for (name, value) in GIT_ENVIRONMENT {
        command = command.env(name, value);
    }
    command
}

/// git's first complaint, without its prefix.
fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().next().unwrap_or("git says nothing");
    let line = line.strip_prefix("error: ").unwrap_or(line);
    line.strip_prefix("fatal: ").unwrap_or(line).to_owned()
}

/// The patch's subject, else its file name. A long one is folded by
/// `git format-patch` over several lines.
fn subject(patch: &Text) -> String {
    let mut lines = patch.content.lines();
    let Some(first) = lines.find_map(|line| line.strip_prefix("Subject:")) else {
        return patch.name();
    };
    let mut subject = first.trim().to_owned();
    for more in lines.take_while(|line| line.starts_with(' ')) {
        subject = format!("{subject} {}", more.trim());
    }
    match subject.split_once("] ") {
        Some((tag, rest)) if tag.starts_with("[PATCH") => rest.to_owned(),
        _ => subject,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use rapidswap_progress::Reporter;
    use std::fs;
    use std::path::PathBuf;
    use tempfile::TempDir;

    const ADD_LINE: &str = "\
From: A <a@b>
Subject: [PATCH 1/2] mm: say
 more

---
--- a/mm.c
+++ b/mm.c
@@ -1,2 +1,3 @@
 one
+and a half
 two
";
    const ADD_FILE: &str = "\
Subject: [PATCH 2/2] add a file
--- /dev/null
+++ b/new.c
@@ -0,0 +1 @@
+new
";

    fn tree() -> TempDir {
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::write(dir.path().join("mm.c"), "one\ntwo\n").expect("write");
        fs::write(dir.path().join("other.c"), "other\n").expect("write");
        let tree = Tree(dir.path());
        for args in [
            &["init", "-q"][..],
            &["add", "-A"],
            &["commit", "-q", "-m", "base"],
            &["tag", BASE],
        ] {
            tree.git(Path::new(""), args).expect("git");
        }
        dir
    }

    fn patch(dir: &TempDir, name: &str, content: &str) -> Text {
        let path = dir.path().join(name);
        fs::write(&path, content).expect("write");
        Text {
            path,
            content: content.to_owned(),
        }
    }

    fn lock() -> (TempDir, Lock) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let lock = Cache::at(dir.path().to_owned())
            .lock(&Reporter::silent())
            .expect("lock");
        (dir, lock)
    }

    fn modified(path: PathBuf) -> std::time::SystemTime {
        let metadata = fs::metadata(path).expect("it is there");
        metadata.modified().expect("has a time")
    }

    #[test]
    fn only_patched_files_are_touched_and_the_way_back_is_open() {
        let (dir, patches) = (tree(), tempfile::tempdir().expect("temporary directory"));
        let (_cache, lock) = lock();
        let series = [
            patch(&patches, "0001-say.patch", ADD_LINE),
            patch(&patches, "0002-add.patch", ADD_FILE),
        ];
        let tree = Tree(dir.path());
        let before = modified(dir.path().join("other.c"));

        let whole = tree.commit(&series, "1.2.3").expect("applies");
        assert_eq!(whole, tree.commit(&series, "1.2.3").expect("applies"));
        let log = tree
            .git(Path::new(""), &["log", "--format=%s", &whole])
            .expect("log");
        assert_eq!(log, "add a file\nmm: say more\nbase");
        assert!(
            !dir.path().join("new.c").exists(),
            "nothing is checked out yet"
        );

        // What a killed run may leave behind must not be in the way.
        fs::write(dir.path().join(".git/index.lock"), "").expect("write");
        fs::write(dir.path().join("new.c"), "half").expect("write");
        tree.check_out(&whole, &lock).expect("check out");
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).expect("read");
        assert_eq!(read("mm.c"), "one\nand a half\ntwo\n");
        assert_eq!(read("new.c"), "new\n");
        assert_eq!(modified(dir.path().join("other.c")), before);

        let patched = modified(dir.path().join("mm.c"));
        let first = tree.commit(&series[..1], "1.2.3").expect("applies");
        tree.check_out(&first, &lock).expect("check out");
        assert!(!dir.path().join("new.c").exists());
        assert_eq!(modified(dir.path().join("mm.c")), patched);
    }

    #[test]
    fn the_patch_that_fails_is_named() {
        let (dir, patches) = (tree(), tempfile::tempdir().expect("temporary directory"));
        let series = [
            patch(&patches, "0001-say.patch", ADD_LINE),
            patch(&patches, "0002-again.patch", ADD_LINE),
        ];
        let error = Tree(dir.path())
            .commit(&series, "1.2.3")
            .expect_err("twice");
        assert_eq!(
            error.to_string(),
            "0002-again.patch does not apply to Linux 1.2.3: patch failed: mm.c:1"
        );
    }

    #[test]
    fn a_patch_without_a_subject_goes_by_its_name() {
        let dir = tempfile::tempdir().expect("temporary directory");
        assert_eq!(
            subject(&patch(&dir, "0001-x.patch", "---\n")),
            "0001-x.patch"
        );
    }
}
