// SPDX-License-Identifier: GPL-2.0-only

//! Queue pair, reliable connected.
//!
//! C header: `include/rdma/ib_verbs.h`, `include/rdma/rdma_cm.h`.
//!
//! Made and dropped by the session's worker, and at the module's exit: both may sleep and allocate.
//! Posting takes the driver's own lock, innermost, and neither sleeps nor allocates.

use super::bindings;
use super::cm::CmId;
use super::cq::Cq;
use super::dma::{Direction, Mapping};
use super::operation::Memory;
use super::pd::Pd;
use super::pool::Verb;
use super::scratch::Scratch;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Most pieces of memory that a work request has: more make it no cheaper by the page.
const MAX_PIECES: u32 = 16;

/// A queue pair that only sends: one-sided operations. Dropping it [ends](Qp::end) it.
///
/// # Invariants
///
/// `raw` is the live queue pair of `id`, on `pd` and `cq`.
pub(crate) struct Qp {
    raw: NonNull<bindings::ib_qp>,
    device: NonNull<bindings::ib_device>,
    // Whether anything was posted since the last drain.
    used: AtomicBool,
    // Whether it was told that this is the end.
    ended: AtomicBool,
    fence: Option<Fence>,
    // How many pieces a WRITE may have, and a READ.
    pieces: (u32, u32),
    pd: Arc<Pd>,
    // Goes after the queue pair, which is dropped first by hand.
    _cq: Arc<Cq>,
    id: Arc<CmId>,
}

/// What small READs are thrown into. Goes after the queue pair, and before the device.
struct Fence {
    mapping: Mapping,
    _sink: Scratch,
}

/// How much they read.
const FENCE_LEN: u32 = 8;

// SAFETY: Verbs objects may be used from any thread.
unsafe impl Send for Qp {}
// SAFETY: As above.
unsafe impl Sync for Qp {}

impl Qp {
    /// A queue pair for `depth` operations at a time, with its own domain and queue.
    pub(crate) fn new(id: &Arc<CmId>, depth: u32) -> Result<Arc<Qp>> {
        // A WRITE may need a READ behind it.
        let posts = if id.is_iwarp()? { 2 * depth } else { depth };
        // One more for the drain.
        let depth = posts + 1;
        let device = id.device()?;
        // SAFETY: `id` keeps the device, and its attributes never change.
        let (max_wr, max_cqe, max_sge, max_sge_rd) = unsafe {
            let attrs = &(*device.as_ptr()).attrs;
            let sges = (attrs.max_send_sge, attrs.max_sge_rd);
            (attrs.max_qp_wr, attrs.max_cqe, sges.0, sges.1)
        };
        let writes = (max_sge as u32).clamp(1, MAX_PIECES);
        // Not every driver says how many a READ may have.
        let reads = (max_sge_rd as u32).clamp(1, writes);
        // One receive that is never posted: not every driver takes none.
        let entries = depth + 1;
        if i64::from(depth) > i64::from(max_wr) || i64::from(entries) > i64::from(max_cqe) {
            return Err(E2BIG);
        }
        let pd = Pd::new(id)?;
        let cq = Cq::new(id, entries)?;
        let mut attr = bindings::ib_qp_init_attr {
            send_cq: cq.as_ptr(),
            recv_cq: cq.as_ptr(),
            sq_sig_type: bindings::ib_sig_type_IB_SIGNAL_REQ_WR,
            qp_type: bindings::ib_qp_type_IB_QPT_RC,
            cap: bindings::ib_qp_cap {
                max_send_wr: depth,
                max_recv_wr: 1,
                max_send_sge: writes,
                max_recv_sge: 1,
                ..Default::default()
            },
            ..Default::default()
        };
        let raw = id.create_qp(&pd, &mut attr)?;
        // INVARIANT: Just made, and `CmId` makes one only.
        let mut qp = Qp {
            raw,
            device,
            used: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            fence: None,
            pieces: (writes, reads),
            pd,
            _cq: cq,
            id: id.clone(),
        };
        if id.is_iwarp()? {
            let sink = Scratch::new()?;
            qp.fence = Some(Fence {
                mapping: Mapping::new(&qp, sink.page(), FENCE_LEN, Direction::FromDevice)?,
                _sink: sink,
            });
        }
        Ok(Arc::new(qp, GFP_KERNEL)?)
    }

    /// Posts a list of work requests. Where it fails, some of them may be posted all the same: not
    /// every driver tells which.
    ///
    /// # Safety
    ///
    /// The list is valid for the call. The `ib_cqe` of each and its memory stay until its end.
    pub(super) unsafe fn post_send(&self, list: *const bindings::ib_send_wr) -> Result {
        self.used.store(true, Ordering::Relaxed);
        // SAFETY: By the type invariants and this function's contract.
        to_result(unsafe { bindings::remoteswap_shim_post_send(self.raw.as_ptr(), list) })
    }

    /// How many pieces of memory a work request may have.
    pub(super) fn pieces(&self, verb: Verb) -> usize {
        let (writes, reads) = self.pieces;
        let most = match verb {
            Verb::Write => writes,
            Verb::Read => reads,
        };
        most as usize
    }

    /// Disconnects, and returns when the adapter has given back all that was posted. Where it fails
    /// the adapter may not know that this is the end: then it has not given back anything until
    /// this is dropped.
    ///
    /// Whoever may post must have stopped. What is posted all the same is waited for in `drop`.
    pub(crate) fn end(&self) -> Result {
        if !self.ended.swap(true, Ordering::Relaxed) {
            self.id.disconnect();
        }
        if self.used.swap(false, Ordering::Relaxed) {
            // `ib_drain_sq()` does the same, which may take memory, and does not say if it cannot.
            //
            // SAFETY: By the type invariants.
            to_result(unsafe { bindings::remoteswap_shim_to_error(self.raw.as_ptr()) })?;
            // Waits for everything before its own request.
            //
            // SAFETY: By the type invariants.
            unsafe { bindings::ib_drain_sq(self.raw.as_ptr()) };
        }
        Ok(())
    }

    /// What keeps its device, by which memory is mapped.
    pub(crate) fn id(&self) -> Arc<CmId> {
        self.id.clone()
    }

    /// Where a READ goes that stands for the WRITEs before it, on a device where those complete
    /// before the peer's memory has them.
    pub(super) fn fence(&self) -> Option<bindings::ib_sge> {
        let fence = self.fence.as_ref()?;
        Some(bindings::ib_sge {
            addr: fence.mapping.addr(),
            length: FENCE_LEN,
            lkey: self.local_dma_lkey(),
        })
    }

    /// As completions name it.
    pub(super) fn as_ptr(&self) -> *mut bindings::ib_qp {
        self.raw.as_ptr()
    }

    pub(super) fn local_dma_lkey(&self) -> u32 {
        self.pd.local_dma_lkey()
    }

    pub(super) fn device(&self) -> NonNull<bindings::ib_device> {
        self.device
    }
}

impl Drop for Qp {
    fn drop(&mut self) {
        // Nobody else has the queue pair, so nobody posts; and without it there is no adapter left
        // that has not given back something.
        let _ = self.end();
        self.id.destroy_qp();
    }
}
