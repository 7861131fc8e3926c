//! Errors on their way to the host.

use std::fmt::Display;
use std::io;

use rapidswap_protocol::message::Failure;

/// An error of the system, with what was tried.
pub(crate) fn failed(what: impl Display, error: &io::Error) -> Failure {
    Failure {
        errno: error.raw_os_error().unwrap_or(0),
        message: format!("cannot {what}: {error}"),
    }
}

/// A request that no system call was tried for.
pub(crate) fn refused(message: &str) -> Failure {
    Failure {
        errno: 0,
        message: message.to_owned(),
    }
}
