// SPDX-License-Identifier: GPL-2.0-only

//! Sleeping until something happened or a time is over.
//!
//! C header: `include/linux/completion.h`, `include/linux/semaphore.h`.
//!
//! Locks: the waiters' own, inside each object, innermost. Allocates nothing.
//! `wait` and `down_timeout` sleep, the rest may be called from anywhere.

use super::bindings;
use crate::logic::credits::Semaphore;
use kernel::prelude::*;
use kernel::time::msecs_to_jiffies;
use kernel::types::Opaque;

/// Something that happens, once for each who waits for it.
#[pin_data]
pub(crate) struct Completion {
    #[pin]
    raw: Opaque<bindings::completion>,
}

// SAFETY: A `completion` is made to be used from several threads.
unsafe impl Send for Completion {}
// SAFETY: As above.
unsafe impl Sync for Completion {}

impl Completion {
    /// Not yet happened.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            raw <- Opaque::ffi_init(|raw| {
                // SAFETY: `raw` is valid for writes and pinned.
                unsafe { bindings::remoteswap_shim_init_completion(raw) }
            }),
        })
    }

    /// It happened: one waiter, now or later, goes on.
    pub(crate) fn complete(&self) {
        // SAFETY: The object exists, so it was initialised.
        unsafe { bindings::complete(self.raw.get()) };
    }

    /// It happened: every waiter, now or later, goes on.
    pub(crate) fn complete_for_good(&self) {
        // SAFETY: As above.
        unsafe { bindings::complete_all(self.raw.get()) };
    }

    /// Waits, uninterruptibly; false when the time was over first.
    pub(crate) fn wait(&self, timeout_ms: u32) -> bool {
        // SAFETY: As in `complete`.
        unsafe {
            bindings::wait_for_completion_timeout(self.raw.get(), msecs_to_jiffies(timeout_ms)) != 0
        }
    }
}

/// Counts what may be under way.
#[pin_data]
pub(crate) struct Credits {
    #[pin]
    raw: Opaque<bindings::semaphore>,
}

// SAFETY: A `semaphore` is made to be used from several threads.
unsafe impl Send for Credits {}
// SAFETY: As above.
unsafe impl Sync for Credits {}

impl Credits {
    /// All `count` are there.
    pub(crate) fn new(count: u16) -> impl PinInit<Self> {
        pin_init!(Self {
            raw <- Opaque::ffi_init(move |raw| {
                // SAFETY: `raw` is valid for writes and pinned.
                unsafe { bindings::remoteswap_shim_init_semaphore(raw, count.into()) }
            }),
        })
    }
}

impl Semaphore for Credits {
    fn try_down(&self) -> bool {
        // SAFETY: The object exists, so it was initialised.
        unsafe { bindings::down_trylock(self.raw.get()) == 0 }
    }

    /// Uninterruptibly.
    fn down_timeout(&self, timeout_ms: u32) -> bool {
        let jiffies = msecs_to_jiffies(timeout_ms) as kernel::ffi::c_long;
        // SAFETY: As in `try_down`.
        unsafe { bindings::down_timeout(self.raw.get(), jiffies) == 0 }
    }

    fn up(&self) {
        // SAFETY: As in `try_down`.
        unsafe { bindings::up(self.raw.get()) };
    }
}
