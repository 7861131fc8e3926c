// SPDX-License-Identifier: GPL-2.0-only

//! Sleeping until something happened or a time is over.
//!
//! C header: `include/linux/completion.h`, `include/linux/semaphore.h`.
//!
//! Locks: the waiters' own, inside each object, innermost. Allocates nothing.
//! `wait` and `take` sleep, the rest may be called from anywhere.

use super::bindings;
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

/// A number of things to be had, taken one by one and given back.
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

    /// Takes one, waiting for it uninterruptibly; false when the time was over first.
    pub(crate) fn take(&self, timeout_ms: u32) -> bool {
        let jiffies = msecs_to_jiffies(timeout_ms) as kernel::ffi::c_long;
        // SAFETY: The object exists, so it was initialised.
        unsafe { bindings::down_timeout(self.raw.get(), jiffies) == 0 }
    }

    /// Takes one if it is there.
    pub(crate) fn try_take(&self) -> bool {
        // SAFETY: As in `take`.
        unsafe { bindings::down_trylock(self.raw.get()) == 0 }
    }

    /// Gives one back.
    pub(crate) fn give(&self) {
        // SAFETY: As in `take`.
        unsafe { bindings::up(self.raw.get()) };
    }
}
