//! What can go wrong, each in one line that says what to do.

use std::io;
use std::path::{Path, PathBuf};

/// What this library returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Why nothing can be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No variable says where the cache is.
    #[error("no cache directory: set XDG_CACHE_HOME or HOME to an absolute path")]
    NoRoot,
    /// Too little room for what is about to be written.
    #[error(
        "not enough disk space in {path}: {needs_mib} MiB needed, {free_mib} MiB free; free some or {remedy}",
        path = path.display()
    )]
    Space {
        /// Where.
        path: PathBuf,
        /// What is about to be written.
        needs_mib: u64,
        /// What there is.
        free_mib: u64,
        /// What to do other than to free some.
        remedy: &'static str,
    },
    /// A file or directory could not be used.
    #[error("cannot {doing} {path}: {cause}", path = path.display())]
    File {
        /// What was tried, as a verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        cause: io::Error,
    },
}

impl Error {
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |cause| Error::File { doing, path, cause }
    }
}
