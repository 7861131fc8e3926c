use std::io;

/// Result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong in rdma-core, the kernel or on the link.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call failed.
    #[error("{action}: {cause}")]
    Os {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        cause: io::Error,
    },
    /// The libraries are opened at run time and are not there.
    #[error("librdmacm or libibverbs cannot be opened: install librdmacm1 and ibverbs-providers")]
    NoLibrary,
    /// Nothing to talk RDMA with.
    #[error(
        "no RDMA device on this machine: add one, as with `rxe-setup link`, or load its driver"
    )]
    NoDevice,
    /// The range is not inside the region or not made of whole words.
    #[error("bytes {offset}..+{len} are not whole words inside a region of {size}")]
    Range {
        /// Start of the range.
        offset: usize,
        /// Its length.
        len: usize,
        /// Bytes in the region.
        size: usize,
    },
    /// The connection manager reported something other than progress.
    #[error("{event} (status {status})")]
    Connection {
        /// The event's name.
        event: &'static str,
        /// Its status.
        status: i32,
    },
    /// A work request failed, and the queue pair with it.
    #[error("work request failed: {0}")]
    WorkRequest(&'static str),
    /// The deadline passed first.
    #[error("timed out: {0}")]
    TimedOut(&'static str),
}

impl Error {
    /// The error in `errno` after a failed call.
    pub(crate) fn last(action: &'static str) -> Error {
        Error::os(action, io::Error::last_os_error())
    }

    /// The error of a call that returns its errno.
    pub(crate) fn code(action: &'static str, code: i32) -> Error {
        Error::os(action, io::Error::from_raw_os_error(code.abs()))
    }

    fn os(action: &'static str, cause: io::Error) -> Error {
        // What the bindings set when they could not open the library.
        match cause.raw_os_error() {
            Some(nix::libc::EOPNOTSUPP) => Error::NoLibrary,
            _ => Error::Os { action, cause },
        }
    }

    /// The errno behind this error, if there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Os { cause, .. } => cause.raw_os_error(),
            _ => None,
        }
    }
}
