//! The patch series as commits on the pristine tree.
//!
//! Applied in a temporary index, so that the working tree is touched only
//! where the result differs from what is checked out: make then rebuilds
//! what a patch changed and nothing else.

use crate::definition::Text;
use crate::error::{Error, Result};
use crate::git::{DATE, Tree, complaint};
use crate::letter::Letter;

impl Tree<'_> {
    /// Commits the series on top of `base` and returns the last commit, which
    /// depends on nothing but the patches and `base`. Nothing is checked out
    /// yet.
    pub(crate) fn commit(&self, base: &str, series: &[Text], version: &str) -> Result<String> {
        self.commit_at(DATE, base, series, version)
    }

    /// The same as if committed at another time, which makes other commits.
    pub(crate) fn commit_at(
        &self,
        date: &str,
        base: &str,
        series: &[Text],
        version: &str,
    ) -> Result<String> {
        let scratch = tempfile::tempdir().map_err(Error::file("create", "a temporary index"))?;
        let index = scratch.path().join("index");
        self.git(["read-tree", base]).index(&index).text()?;
        let mut head = self.resolve(base)?;
        for patch in series {
            let applied = self
                .git(["apply", "--cached", "--whitespace=nowarn"])
                .arg(&patch.path)
                .index(&index)
                .output()?;
            if !applied.status.success() {
                return Err(Error::Patch {
                    patch: patch.name(),
                    version: version.to_owned(),
                    why: complaint(&applied),
                });
            }
            let letter = Letter::read(self, patch, scratch.path())?;
            let tree = self.git(["write-tree"]).index(&index).text()?;
            let mut commit = self
                .git(["commit-tree", &tree, "-p", &head, "-F"])
                .arg(&letter.message)
                .env("GIT_COMMITTER_DATE", date);
            for (name, value) in letter.author {
                commit = commit.env(name, value);
            }
            head = commit.text()?;
        }
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use crate::git::BASE;
    use crate::lock::Lock;
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
            tree.git(args).text().expect("git");
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
            .change_source(&Reporter::silent())
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

        let whole = tree.commit(BASE, &series, "1.2.3").expect("applies");
        assert_eq!(whole, tree.commit(BASE, &series, "1.2.3").expect("applies"));
        let log = tree
            .git(["log", "--format=%s", &whole])
            .text()
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
        let first = tree.commit(BASE, &series[..1], "1.2.3").expect("applies");
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
            .commit(BASE, &series, "1.2.3")
            .expect_err("twice");
        assert_eq!(
            error.to_string(),
            "0002-again.patch does not apply to Linux 1.2.3: patch failed: mm.c:1"
        );
    }

    #[test]
    fn authors_and_messages_are_those_of_the_patches() {
        let (dir, patches) = (tree(), tempfile::tempdir().expect("temporary directory"));
        let letter = "\
From: =?UTF-8?q?J=C3=BCrgen?= <j@example>
Date: Mon, 23 Nov 2026 12:45:53 +0100
Subject: [PATCH] [RFC] mm: say

Why.

  indented
---
 mm.c | 1 +
";
        let change = &ADD_LINE[ADD_LINE.find("--- a").expect("has one")..];
        let series = [
            patch(&patches, "0001-say.patch", &format!("{letter}\n{change}")),
            patch(
                &patches,
                "0002-bare.patch",
                ADD_FILE.split_once('\n').expect("two").1,
            ),
        ];
        let tree = Tree(dir.path());
        let head = tree.commit(BASE, &series, "1.2.3").expect("applies");
        let show = |commit: &str| {
            let format = "--format=%an <%ae> %ad|%B";
            let git = tree.git(["show", "-s", "--date=raw", format, commit]);
            git.text().expect("show")
        };
        assert_eq!(
            show(&format!("{head}~")),
            "Jürgen <j@example> 1795434353 +0100|[RFC] mm: say\n\nWhy.\n\n  indented"
        );
        assert_eq!(
            show(&head),
            "Rapidswap <rapidswap@localhost> 1767225600 +0000|0002-bare.patch"
        );
    }
}
