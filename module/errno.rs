// SPDX-License-Identifier: GPL-2.0-only

//! Error numbers that the kernel crate does not name.
//!
//! Takes no lock, allocates nothing.

use kernel::prelude::*;

/// It takes too long.
pub(crate) fn timed_out() -> Error {
    Error::from_errno(-(kernel::bindings::ETIMEDOUT as i32))
}

/// There is no session.
pub(crate) fn not_connected() -> Error {
    Error::from_errno(-(kernel::bindings::ENOTCONN as i32))
}
