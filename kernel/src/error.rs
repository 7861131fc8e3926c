//! What can go wrong between a source tarball and a finished kernel.

use std::path::PathBuf;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate: one line that says what and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An operation on a file failed.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was attempted, as a verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Nothing can be kept in the cache.
    #[error(transparent)]
    Cache(#[from] rapidswap_cache::Error),
    /// `source.toml` cannot be understood.
    #[error("{} is not valid: {why}", path.display())]
    Definition {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Tools that the build needs are missing or of the wrong version.
    #[error("the kernel cannot be built here: {}", .0.join("; "))]
    Tools(Vec<String>),
    /// No source of the kernel at hand.
    #[error("no kernel source: {0}")]
    NoSource(String),
    /// A tarball that is not the one that was pinned.
    #[error(
        "{} has SHA-256 {found}, not {wanted}: it was removed, run again to fetch it anew",
        path.display()
    )]
    Checksum {
        /// The file.
        path: PathBuf,
        /// What its contents hash to.
        found: String,
        /// What `source.toml` says.
        wanted: String,
    },
    /// The tree is of another kernel line than the series.
    #[error("{} holds Linux {found}, but the series is for {line}", path.display())]
    WrongLine {
        /// The tarball.
        path: PathBuf,
        /// Its version.
        found: String,
        /// The line that `source.toml` names.
        line: String,
    },
    /// A patch does not apply.
    #[error("{patch} does not apply to Linux {version}: {why}")]
    Patch {
        /// File name of the patch.
        patch: String,
        /// Version of the tree.
        version: String,
        /// git's first complaint.
        why: String,
    },
    /// A source tree cannot be used for what was asked.
    #[error("{}: {why}", path.display())]
    Tree {
        /// The tree.
        path: PathBuf,
        /// Why not, and what to do.
        why: String,
    },
    /// Requested symbols that Kconfig dropped or changed.
    #[error("requested symbols did not survive: {}", .0.join(", "))]
    Config(Vec<String>),
    /// A change of the configuration that no fragment can hold.
    #[error("{} cannot take the change, and nothing was written: {why}", path.display())]
    Fragment {
        /// The fragment.
        path: PathBuf,
        /// Why not, and what to do.
        why: String,
    },
    /// An interactive program without a terminal.
    #[error("make {0} needs a terminal; --interface config asks line by line without one")]
    NoTerminal(&'static str),
    /// A command failed; `why` is the line of its output that says most.
    #[error("{what} failed ({status}): {why}")]
    Command {
        /// What it was to do.
        what: String,
        /// How it ended.
        status: String,
        /// The telling line.
        why: String,
    },
    /// The build of the kernel or of a module failed.
    #[error("{what} failed: {why}; the whole log is {}", log.display())]
    Build {
        /// What was built.
        what: String,
        /// The first error in the log.
        why: String,
        /// The log.
        log: PathBuf,
    },
    /// A folder of which no module can be built.
    #[error("no module can be built of {}: {why}", folder.display())]
    Modules {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// `checkpatch.pl --strict` found something.
    #[error("checkpatch.pl has remarks on {}", .0.join(", "))]
    Checkpatch(Vec<String>),
}

impl Error {
    pub(crate) fn fragment(path: impl Into<PathBuf>, why: impl Into<String>) -> Error {
        Error::Fragment {
            path: path.into(),
            why: why.into(),
        }
    }

    pub(crate) fn tree(path: impl Into<PathBuf>, why: impl Into<String>) -> Error {
        Error::Tree {
            path: path.into(),
            why: why.into(),
        }
    }

    pub(crate) fn modules(folder: impl Into<PathBuf>, why: &'static str) -> Error {
        Error::Modules {
            folder: folder.into(),
            why,
        }
    }

    /// For `map_err` on operations on files.
    pub(crate) fn file(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::File {
            doing,
            path,
            source,
        }
    }
}
