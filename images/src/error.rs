//! Everything that can go wrong, each in one line that says what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A line of the package list is no package name.
    #[error("{path}:{line}: '{text}' is not a package name; write one name a line, comments after #", path = path.display())]
    Package {
        /// The list.
        path: PathBuf,
        /// Where in it, from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// It would have to be built, without a network.
    #[error(
        "the guests' root file system is not in the cache, and RAPIDSWAP_OFFLINE is set: run once without it, where there is a network"
    )]
    Offline,
    /// A program of the host is missing.
    #[error(
        "'{program}' is not installed; ./just installs what is missing, or: sudo apt-get install {package}"
    )]
    Missing {
        /// What was to be run.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// The keys that Debian's packages are signed with are missing.
    #[error(
        "the keys of Debian's archive are missing; sudo apt-get install debian-archive-keyring"
    )]
    Keyring,
    /// mmdebstrap may not do its work as this user.
    #[error("mmdebstrap cannot build the guest image as this user: {reason}; {advice}")]
    Unprivileged {
        /// What stands in the way.
        reason: String,
        /// The way out.
        advice: String,
    },
    /// mmdebstrap failed.
    #[error("mmdebstrap failed: {reason}; its whole output is in {log}", log = log.display())]
    Bootstrap {
        /// Its own last error line.
        reason: String,
        /// Everything it said.
        log: PathBuf,
    },
    /// Another program failed.
    #[error("{program} failed: {reason}")]
    Program {
        /// Which.
        program: &'static str,
        /// Its last line.
        reason: String,
    },
    /// Nothing can be kept in the cache.
    #[error(transparent)]
    Cache(#[from] rapidswap_cache::Error),
    /// A file could not be used.
    #[error("cannot {verb} {path}: {cause}", path = path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        cause: io::Error,
    },
}

impl Error {
    pub(crate) fn file(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |cause| Error::File { verb, path, cause }
    }

    /// Why `program` of `package` could not even be started.
    pub(crate) fn start(
        program: &'static str,
        package: &'static str,
    ) -> impl FnOnce(io::Error) -> Error {
        move |cause| match cause.kind() {
            io::ErrorKind::NotFound => Error::Missing { program, package },
            _ => Error::File {
                verb: "run",
                path: program.into(),
                cause,
            },
        }
    }
}
