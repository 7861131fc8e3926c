// SPDX-License-Identifier: GPL-2.0-only

//! Protection domain.
//!
//! C header: `include/rdma/ib_verbs.h`. Takes no lock of ours; allocates and sleeps, so it is
//! made and dropped by the session's worker only.

use super::bindings;
use super::cm::CmId;
use core::ptr::NonNull;
use kernel::error::from_err_ptr;
use kernel::prelude::*;
use kernel::sync::Arc;

/// A protection domain on a connection's device.
///
/// # Invariants
///
/// `raw` is a live domain that this object owns, on the device of `id`.
pub(crate) struct Pd {
    raw: NonNull<bindings::ib_pd>,
    // Keeps the device.
    _id: Arc<CmId>,
}

// SAFETY: Verbs objects may be used from any thread.
unsafe impl Send for Pd {}
// SAFETY: As above.
unsafe impl Sync for Pd {}

impl Pd {
    /// A domain without a key to all memory for peers.
    pub(crate) fn new(id: &Arc<CmId>) -> Result<Arc<Pd>> {
        let device = id.device()?;
        // SAFETY: `id` keeps the device.
        let raw = from_err_ptr(unsafe {
            bindings::__ib_alloc_pd(device.as_ptr(), 0, super::NAME.as_char_ptr())
        })?;
        // INVARIANT: Just made.
        let pd = Pd {
            raw: NonNull::new(raw).ok_or(ENOMEM)?,
            _id: id.clone(),
        };
        Ok(Arc::new(pd, GFP_KERNEL)?)
    }

    /// The key that stands for all local memory mapped by `ib_dma_*`.
    pub(super) fn local_dma_lkey(&self) -> u32 {
        // SAFETY: By the type invariants.
        unsafe { (*self.raw.as_ptr()).local_dma_lkey }
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::ib_pd {
        self.raw.as_ptr()
    }
}

impl Drop for Pd {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; what was made in the domain holds a reference to it,
        // so nothing of that is left.
        unsafe { bindings::ib_dealloc_pd_user(self.raw.as_ptr(), core::ptr::null_mut()) };
    }
}
