// SPDX-License-Identifier: GPL-2.0-only

//! Allocating without ever waiting for pages to be swapped out.
//!
//! C header: `include/linux/sched/mm.h`. Takes no lock.

use super::bindings;
use core::marker::PhantomData;
use kernel::ffi::c_uint;

/// While it lives, this task's allocations may use the reserves and never start reclaim.
///
/// A reconnect is what reclaim may be waiting for, so it must not wait for reclaim.
pub(crate) struct NoReclaim {
    before: c_uint,
    // Belongs to the task.
    _not_send: PhantomData<*mut ()>,
}

impl NoReclaim {
    /// From here on.
    pub(crate) fn enter() -> NoReclaim {
        NoReclaim {
            // SAFETY: Always safe to call; undone in `drop`, by the same task.
            before: unsafe { bindings::remoteswap_shim_noreclaim_save() },
            _not_send: PhantomData,
        }
    }
}

impl Drop for NoReclaim {
    fn drop(&mut self) {
        // SAFETY: `before` is from the matching save.
        unsafe { bindings::remoteswap_shim_noreclaim_restore(self.before) };
    }
}
