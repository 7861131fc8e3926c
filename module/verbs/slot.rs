// SPDX-License-Identifier: GPL-2.0-only

//! A preallocated work request: the memory that an adapter reads while it is at it.
//!
//! C header: `include/rdma/ib_verbs.h`.
//!
//! Takes no locks and allocates nothing. The life of a slot:
//!
//! - free: its bit in the pool's `claimed` is clear. Nobody looks at what is in it.
//! - claimed: the bit is set, and who set it owns the slot.
//! - held: in the pool's `Order::queue`, and owned by who has its lock.
//! - posted: the adapter owns the memory, the slot's `ib_cqe` and `posted`, until its completion
//!   or until its queue pair was drained or is gone. There is no other way back: a timeout does
//!   not end it. What a queue pair tells of a slot that it no longer has is not heard.

use super::bindings;
use super::dma::Mapping;
use super::operation::{Operation, Outcome, Times};
use super::pool::Pool;
use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use kernel::sync::Arc;
use kernel::types::Opaque;

/// What goes with a slot to the adapter.
pub(super) struct Posted<O: Operation> {
    /// Keeps the slot's memory until the completion.
    pub(super) pool: Arc<Pool<O>>,
    pub(super) memory: O::Memory,
    pub(super) context: O::Context,
    pub(super) mapping: Mapping,
}

/// Room for one operation.
///
/// # Invariants
///
/// `cqe.done` is [`done`] of this kind of operation and `fence.done` [`fenced`].
pub(super) struct Slot<O: Operation> {
    pub(super) cqe: Opaque<bindings::ib_cqe>,
    /// For the READ behind it.
    pub(super) fence: Opaque<bindings::ib_cqe>,
    /// In its pool.
    pub(super) index: u8,
    /// Which it is, or is to be, posted on; null while free.
    pub(super) qp: AtomicPtr<bindings::ib_qp>,
    /// When it must have completed, in the caller's clock; `u64::MAX` while free.
    pub(super) due: AtomicU64,
    /// Of the list that it was posted with.
    pub(super) held_ns: AtomicU64,
    pub(super) posted_ns: AtomicU64,
    /// Alone, or with those that are held behind it.
    pub(super) request: UnsafeCell<bindings::ib_rdma_wr>,
    pub(super) sge: UnsafeCell<bindings::ib_sge>,
    pub(super) posted: UnsafeCell<Option<Posted<O>>>,
}

impl<O: Operation> Slot<O> {
    pub(super) fn new(index: u8) -> Slot<O> {
        // INVARIANT: As named here; nothing writes to either.
        Slot {
            cqe: Opaque::new(bindings::ib_cqe {
                done: Some(done::<O>),
            }),
            fence: Opaque::new(bindings::ib_cqe {
                done: Some(fenced::<O>),
            }),
            index,
            qp: AtomicPtr::new(ptr::null_mut()),
            due: AtomicU64::new(u64::MAX),
            held_ns: AtomicU64::new(0),
            posted_ns: AtomicU64::new(0),
            request: UnsafeCell::new(bindings::ib_rdma_wr::default()),
            sge: UnsafeCell::new(bindings::ib_sge::default()),
            posted: UnsafeCell::new(None),
        }
    }

    /// When its list was where, which ended at `ended`.
    pub(super) fn times(&self, ended: u64) -> Times {
        Times {
            held: self.held_ns.load(Ordering::Relaxed),
            posted: self.posted_ns.load(Ordering::Relaxed),
            ended,
            last: false,
        }
    }

    /// Its request, as lists of them name it.
    pub(super) fn wr(&self) -> *mut bindings::ib_send_wr {
        // SAFETY: Only names a field.
        unsafe { ptr::addr_of_mut!((*self.request.get()).wr) }
    }

    /// Ends what the slot's completion, which came from `qp`, stands for.
    ///
    /// # Safety
    ///
    /// If `qp` has the slot, it gave it back, to the caller alone.
    unsafe fn completed(&self, qp: *const bindings::ib_qp, outcome: Outcome) {
        // Pools outlive queue pairs, and a drain cannot say that it failed.
        if !ptr::eq(self.qp.load(Ordering::Acquire), qp) {
            return;
        }
        // Nothing, if the adapter tells of it twice.
        //
        // SAFETY: By this function's contract.
        let posted = unsafe { (*self.posted.get()).as_ref() };
        // Beyond what is posted, which ends here.
        if let Some(pool) = posted.map(|posted| posted.pool.clone()) {
            pool.completed(self.index, outcome);
        }
    }
}

/// A slot's completion.
///
/// # Safety
///
/// Called by the completion queue, with the `ib_cqe` of a slot that was posted, in the order of
/// the posts, and once at most for each.
unsafe extern "C" fn done<O: Operation>(_cq: *mut bindings::ib_cq, wc: *mut bindings::ib_wc) {
    // SAFETY: By this function's contract.
    let (cqe, qp, outcome) = unsafe { ended(wc) };
    // SAFETY: Every `ib_cqe` posted with this function is that of a `Slot<O>`.
    let slot = unsafe { &*kernel::container_of!(cqe, Slot<O>, cqe) };
    // SAFETY: The adapter gave the slot back, to this call.
    unsafe { slot.completed(qp, outcome) };
}

/// The READ behind the last one of a list was answered, or was not.
///
/// # Safety
///
/// Called by the completion queue, with the `fence` of a slot that was posted as the last one of a
/// list, and once at most for each list.
unsafe extern "C" fn fenced<O: Operation>(_cq: *mut bindings::ib_cq, wc: *mut bindings::ib_wc) {
    // SAFETY: By this function's contract.
    let (cqe, qp, outcome) = unsafe { ended(wc) };
    if !outcome.is_ok() {
        // If the WRITE before it has failed too, the slot may be another one's by now.
        return;
    }
    // SAFETY: Every `ib_cqe` posted with this function is that of a `Slot<O>`.
    let slot = unsafe { &*kernel::container_of!(cqe, Slot<O>, fence) };
    // SAFETY: Posted, and not ended by anything but this call.
    unsafe { slot.completed(qp, outcome) };
}

/// What has ended, where, and how.
///
/// # Safety
///
/// `wc` is what the completion queue gives to the function of an `ib_cqe`.
unsafe fn ended(
    wc: *const bindings::ib_wc,
) -> (
    *mut Opaque<bindings::ib_cqe>,
    *const bindings::ib_qp,
    Outcome,
) {
    // SAFETY: By this function's contract it is valid.
    let wc = unsafe { &*wc };
    // SAFETY: It names what was posted, which has one.
    let cqe = unsafe { wc.__bindgen_anon_1.wr_cqe };
    (cqe.cast(), wc.qp, Outcome(wc.status))
}
