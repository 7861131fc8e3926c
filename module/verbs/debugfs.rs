// SPDX-License-Identifier: GPL-2.0-only

//! The files in `/sys/kernel/debug/remoteswap`.
//!
//! C header: `include/linux/debugfs.h`, `include/linux/seq_file.h`.
//!
//! Locks: each file's own, outermost. May sleep and allocate.

use super::bindings;
use core::fmt;
use core::ptr::NonNull;
use kernel::ffi::{c_int, c_uint};
use kernel::prelude::*;

/// What a file shows and does.
pub(crate) trait Files {
    /// Writes `status`.
    fn status(out: &mut dyn fmt::Write) -> fmt::Result;

    /// Writes `latency`.
    fn latency(out: &mut dyn fmt::Write) -> fmt::Result;

    /// Writes `histograms`.
    fn histograms(out: &mut dyn fmt::Write) -> fmt::Result;

    /// Does what a number written to `selftest` asks for.
    fn selftest(reads: u32) -> Result;

    /// Writes what came of it.
    fn results(out: &mut dyn fmt::Write) -> fmt::Result;
}

/// The files are there, until dropped, which waits for their users.
pub(crate) struct Directory(());

impl Directory {
    /// Makes the files.
    pub(crate) fn new() -> Directory {
        // SAFETY: Always safe to call; undone in `drop`.
        unsafe { bindings::remoteswap_shim_debugfs_add() };
        Directory(())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // SAFETY: Made in `new`.
        unsafe { bindings::remoteswap_shim_debugfs_remove() };
    }
}

struct SeqFile(NonNull<bindings::seq_file>);

impl fmt::Write for SeqFile {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: The file is being shown, and `text` is valid for its length. An overflow is
        // noticed by the file itself, which then shows all of it again in a larger buffer.
        unsafe { bindings::seq_write(self.0.as_ptr(), text.as_ptr().cast(), text.len()) };
        Ok(())
    }
}

fn show(file: *mut bindings::seq_file, write: fn(&mut dyn fmt::Write) -> fmt::Result) -> c_int {
    let Some(file) = NonNull::new(file) else {
        return EINVAL.to_errno();
    };
    match write(&mut SeqFile(file)) {
        Ok(()) => 0,
        Err(fmt::Error) => EINVAL.to_errno(),
    }
}

/// Shows `status`.
///
/// # Safety
///
/// Called by the shim, with a file that is being shown.
#[no_mangle]
pub(crate) unsafe extern "C" fn remoteswap_status_show(file: *mut bindings::seq_file) -> c_int {
    show(file, <crate::status::Contents as Files>::status)
}

/// Shows `latency`.
///
/// # Safety
///
/// Called by the shim, with a file that is being shown.
#[no_mangle]
pub(crate) unsafe extern "C" fn remoteswap_latency_show(file: *mut bindings::seq_file) -> c_int {
    show(file, <crate::status::Contents as Files>::latency)
}

/// Shows `histograms`.
///
/// # Safety
///
/// Called by the shim, with a file that is being shown.
#[no_mangle]
pub(crate) unsafe extern "C" fn remoteswap_histograms_show(file: *mut bindings::seq_file) -> c_int {
    show(file, <crate::status::Contents as Files>::histograms)
}

/// Shows `selftest`.
///
/// # Safety
///
/// Called by the shim, with a file that is being shown.
#[no_mangle]
pub(crate) unsafe extern "C" fn remoteswap_selftest_show(file: *mut bindings::seq_file) -> c_int {
    show(file, <crate::status::Contents as Files>::results)
}

/// Runs `selftest`.
#[no_mangle]
pub(crate) extern "C" fn remoteswap_selftest_run(reads: c_uint) -> c_int {
    match <crate::status::Contents as Files>::selftest(reads) {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}
