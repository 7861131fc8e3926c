// SPDX-License-Identifier: GPL-2.0-only

//! Completion queue.
//!
//! C header: `include/rdma/ib_verbs.h`. Takes no lock of ours; allocates and sleeps, so it is
//! made and dropped by the session's worker only, and at the module's exit.

use super::bindings;
use super::cm::CmId;
use core::ptr::{self, NonNull};
use kernel::error::from_err_ptr;
use kernel::prelude::*;
use kernel::sync::Arc;

/// A queue whose completions are handled by `ib_comp_wq`, which reclaim may depend on. It is
/// always armed: the core arms it again each time that work has emptied it.
///
/// # Invariants
///
/// `raw` is a live queue that this object owns, on the device of `id`.
pub(crate) struct Cq {
    raw: NonNull<bindings::ib_cq>,
    // Keeps the device.
    _id: Arc<CmId>,
}

// SAFETY: Verbs objects may be used from any thread.
unsafe impl Send for Cq {}
// SAFETY: As above.
unsafe impl Sync for Cq {}

impl Cq {
    /// A queue that holds `entries` completions.
    pub(crate) fn new(id: &Arc<CmId>, entries: u32) -> Result<Arc<Cq>> {
        let device = id.device()?;
        // SAFETY: `id` keeps the device.
        let raw = from_err_ptr(unsafe {
            bindings::__ib_alloc_cq_any(
                device.as_ptr(),
                ptr::null_mut(),
                entries as i32,
                bindings::ib_poll_context_IB_POLL_WORKQUEUE,
                super::NAME.as_char_ptr(),
            )
        })?;
        // INVARIANT: Just made.
        let cq = Cq {
            raw: NonNull::new(raw).ok_or(ENOMEM)?,
            _id: id.clone(),
        };
        Ok(Arc::new(cq, GFP_KERNEL)?)
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::ib_cq {
        self.raw.as_ptr()
    }
}

impl Drop for Cq {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; the queue pair on it holds a reference, so it is gone.
        unsafe { bindings::ib_free_cq(self.raw.as_ptr()) };
    }
}
