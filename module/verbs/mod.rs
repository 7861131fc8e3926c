// SPDX-License-Identifier: GPL-2.0-only

//! Safe types for the C objects this module works with: one for each.
//!
//! The only place with unsafe code. What is here knows verbs, the remote-swap core and a few
//! helpers of the kernel, and decides nothing; what the module does is in the files above it.
//!
//! Each file says which locks it takes, and what may sleep or allocate. References point one way,
//! so that things go in the only right order by themselves: a posted [`slot`] needs its
//! [`qp`], that its [`cq`] and [`pd`], those their [`cm`] identifier, and that keeps the device.

use kernel::prelude::*;

mod bindings;
pub(crate) mod cm;
mod cq;
pub(crate) mod debugfs;
mod dma;
pub(crate) mod mail;
pub(crate) mod operation;
pub(crate) mod params;
mod pd;
pub(crate) mod pool;
pub(crate) mod qp;
pub(crate) mod reclaim;
pub(crate) mod scratch;
pub(crate) mod singleton;
mod slot;
pub(crate) mod swap;
pub(crate) mod wait;
pub(crate) mod work;

/// What the kernel's records call us.
const NAME: &CStr = kernel::c_str!("remoteswap");

/// A number nobody can guess.
pub(crate) fn random() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: `bytes` is valid for writes of its length.
    unsafe { bindings::get_random_bytes(bytes.as_mut_ptr().cast(), bytes.len()) };
    u64::from_ne_bytes(bytes)
}

/// A message of C's.
///
/// # Safety
///
/// `raw` is a terminated string that never changes.
unsafe fn text(raw: *const kernel::ffi::c_char) -> &'static str {
    // SAFETY: By this function's contract.
    unsafe { CStr::from_char_ptr(raw) }
        .to_str()
        .unwrap_or("unknown")
}
