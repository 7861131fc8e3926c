//! git in a kernel tree, with the same result whoever calls it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::error::{Error, Result};
use crate::guarded::{Guarded, ending};
use crate::lock::Lock;

/// Tag of the pristine tree.
pub(crate) const BASE: &str = "base";

/// When commits are made that are to be equal where their contents are.
pub(crate) const DATE: &str = "2026-01-01T00:00:00Z";

/// Makes git independent of the user's configuration, and commits equal where
/// their contents are.
pub(crate) const GIT_ENVIRONMENT: [(&str, &str); 8] = [
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_AUTHOR_NAME", "Rapidswap"),
    ("GIT_AUTHOR_EMAIL", "rapidswap@localhost"),
    ("GIT_AUTHOR_DATE", DATE),
    ("GIT_COMMITTER_NAME", "Rapidswap"),
    ("GIT_COMMITTER_EMAIL", "rapidswap@localhost"),
    ("GIT_COMMITTER_DATE", DATE),
];

/// What git sets for its hooks: it would send us to another repository.
const ELSEWHERE: [&str; 7] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
];

/// A git repository that holds a kernel tree.
#[derive(Clone, Copy)]
pub(crate) struct Tree<'a>(pub(crate) &'a Path);

impl Tree<'_> {
    /// A git command on this tree.
    pub(crate) fn git(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Git {
        let mut command = Command::new("git");
        for name in ELSEWHERE {
            command.env_remove(name);
        }
        command.arg("-C").arg(self.0).args(args);
        command.envs(GIT_ENVIRONMENT).env("LC_ALL", "C");
        // A look at the tree leaves no lock behind if it is killed.
        command.env("GIT_OPTIONAL_LOCKS", "0");
        command.stdin(Stdio::null());
        Git(command)
    }

    /// Checks a commit out; only files that differ are written.
    pub(crate) fn check_out(&self, commit: &str, lock: &Lock) -> Result<()> {
        // Nobody else changes the tree, so a lock is a killed git's.
        let stale = self.0.join(".git/index.lock");
        if stale.exists() {
            std::fs::remove_file(&stale).map_err(Error::file("remove", stale))?;
        }
        git_command()
            .args(["checkout", "--quiet", "--force", "--detach", commit])
            .run("checking the patched source out", self.0, lock)
    }

    /// Whether a commit is checked out, whole and as it is: who was killed
    /// while it checked out another one has changed files, but not HEAD.
    pub(crate) fn is_checked_out(&self, commit: &str) -> Result<bool> {
        if self.resolve("HEAD").ok().as_deref() != Some(commit) {
            return Ok(false);
        }
        let status = ["status", "--porcelain", "--untracked-files=no"];
        Ok(self.git(status).text()?.is_empty())
    }

    /// The files of a commit with their contents' hashes, one on each line.
    pub(crate) fn files(&self, commit: &str) -> Result<String> {
        self.git(["ls-tree", "-r", "--full-tree", commit]).text()
    }

    /// The commit that a name stands for.
    pub(crate) fn resolve(&self, name: &str) -> Result<String> {
        self.git(["rev-parse", "--verify", &format!("{name}^{{commit}}")])
            .text()
    }

    /// Makes a name stand for a commit.
    pub(crate) fn set_ref(&self, name: &str, commit: &str) -> Result<()> {
        self.git(["update-ref", name, commit]).text().map(drop)
    }

    /// Whether `ancestor` is `commit` or one that it came from.
    pub(crate) fn descends(&self, commit: &str, ancestor: &str) -> Result<bool> {
        let output = self
            .git(["merge-base", "--is-ancestor", ancestor, commit])
            .output()?;
        Ok(output.status.success())
    }
}

/// A short git command.
pub(crate) struct Git(Command);

impl Git {
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Git {
        self.0.arg(arg);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Git {
        self.0.env(name, value);
        self
    }

    /// Uses another index than the working tree's.
    pub(crate) fn index(self, index: &Path) -> Git {
        self.env("GIT_INDEX_FILE", index)
    }

    pub(crate) fn stdin(mut self, from: impl Into<Stdio>) -> Git {
        self.0.stdin(from);
        self
    }

    pub(crate) fn output(&mut self) -> Result<Output> {
        self.0.output().map_err(Error::file("run", "git"))
    }

    /// Its stdout; a failure is an error.
    pub(crate) fn text(mut self) -> Result<String> {
        let output = self.output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let mut args = self.0.get_args().skip(1);
        let tree = args.next().unwrap_or_default().to_string_lossy();
        let verb = args.find(|arg| !arg.to_string_lossy().starts_with('-'));
        Err(Error::Command {
            what: format!(
                "git {} in {tree}",
                verb.unwrap_or_default().to_string_lossy()
            ),
            status: ending(output.status),
            why: complaint(&output),
        })
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
pub(crate) fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().next().unwrap_or("git says nothing");
    let line = line.strip_prefix("error: ").unwrap_or(line);
    line.strip_prefix("fatal: ").unwrap_or(line).to_owned()
}
