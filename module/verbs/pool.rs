// SPDX-License-Identifier: GPL-2.0-only

//! Preallocated work requests: who owns what while an adapter is at it.
//!
//! C header: `include/rdma/ib_verbs.h`.
//!
//! Locks: none, slots are claimed by atomics. [`Pool::post`] takes the queue pair's own lock
//! inside `ib_post_send`. Allocates only in [`Pool::new`]; [`Pool::post`] and completions may be
//! called where reclaim is.
//!
//! The life of a slot:
//!
//! - free: its bit in `busy` is clear. Nobody looks at `posted`.
//! - claimed: the bit is set, and who set it owns `posted`.
//! - posted: the adapter owns the memory, the slot's `ib_cqe` and `posted`, until it calls
//!   [`done`]. There is no other way back: a timeout does not end it, only the queue pair's
//!   completion or its flush does, and [`Qp`](super::qp::Qp) waits for both before it goes.

use super::bindings;
use super::dma::{Direction, Mapping};
use super::qp::Qp;
use core::cell::UnsafeCell;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU64, Ordering};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::Opaque;

/// Slots that a pool can have: one bit each.
pub(crate) const MAX_SLOTS: usize = 64;

/// Memory that can be lent to an adapter, by value.
///
/// # Safety
///
/// The page stays allocated, and where it is, as long as the object is not dropped.
pub(crate) unsafe trait Memory: Send + 'static {
    /// The page.
    fn page(&self) -> NonNull<bindings::page>;
}

/// A kind of operation: what it moves and what to do afterwards.
pub(crate) trait Operation: 'static {
    /// What is moved.
    type Memory: Memory;
    /// What to know about it afterwards.
    type Context: Send + 'static;

    /// The adapter has done with it. Called by the completion queue's work; may sleep.
    fn completed(memory: Self::Memory, context: Self::Context, outcome: Outcome);
}

/// How an operation ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome(bindings::ib_wc_status);

impl Outcome {
    /// Whether the bytes arrived.
    pub(crate) fn is_ok(self) -> bool {
        self.0 == bindings::ib_wc_status_IB_WC_SUCCESS
    }

    /// The status in words.
    pub(crate) fn message(self) -> &'static str {
        // SAFETY: Answers a static string for every number.
        unsafe { super::text(bindings::ib_wc_status_msg(self.0)) }
    }
}

/// Which way the bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// From here to the peer.
    Write,
    /// From the peer to here.
    Read,
}

/// What to move where.
#[derive(Clone, Copy)]
pub(crate) struct Route {
    pub(crate) verb: Verb,
    /// Bytes from the page's start.
    pub(crate) len: u32,
    /// The peer's address.
    pub(crate) addr: u64,
    /// And the key to it.
    pub(crate) rkey: u32,
}

/// An operation that was not posted, with all that belongs to it.
pub(crate) struct Refused<O: Operation> {
    pub(crate) memory: O::Memory,
    pub(crate) context: O::Context,
    pub(crate) error: Error,
}

struct Posted<O: Operation> {
    // Keeps the slot's memory until the completion.
    pool: Arc<Pool<O>>,
    memory: O::Memory,
    context: O::Context,
    mapping: Mapping,
}

struct Slot<O: Operation> {
    cqe: Opaque<bindings::ib_cqe>,
    bit: u64,
    // When it must have completed, in the caller's clock; `u64::MAX` while free.
    due: AtomicU64,
    posted: UnsafeCell<Option<Posted<O>>>,
}

/// Slots for up to [`MAX_SLOTS`] operations of a kind.
///
/// # Invariants
///
/// `slots` never moves or changes its length, each slot's `bit` is one of its own, and `cqe.done`
/// is [`done`] of this kind of operation.
pub(crate) struct Pool<O: Operation> {
    slots: KVec<Slot<O>>,
    busy: AtomicU64,
}

// SAFETY: A slot's contents belong to whoever claimed it, and can be sent there.
unsafe impl<O: Operation> Send for Pool<O> {}
// SAFETY: As above; `busy` and `due` are atomic.
unsafe impl<O: Operation> Sync for Pool<O> {}

impl<O: Operation> Pool<O> {
    /// A pool of `count` slots, at most [`MAX_SLOTS`].
    pub(crate) fn new(count: usize) -> Result<Arc<Pool<O>>> {
        if count > MAX_SLOTS {
            return Err(EINVAL);
        }
        let mut slots = KVec::with_capacity(count, GFP_KERNEL)?;
        for index in 0..count {
            let slot = Slot {
                cqe: Opaque::new(bindings::ib_cqe {
                    done: Some(done::<O>),
                }),
                bit: 1 << index,
                due: AtomicU64::new(u64::MAX),
                posted: UnsafeCell::new(None),
            };
            slots.push(slot, GFP_KERNEL)?;
        }
        // INVARIANT: As filled above; nothing hands out `&mut slots`.
        Ok(Arc::new(
            Pool {
                slots,
                busy: AtomicU64::new(0),
            },
            GFP_KERNEL,
        )?)
    }

    /// Maps the memory and hands it to the adapter, which finishes it by
    /// [`Operation::completed`]. `due` is what [`Pool::first_due`] compares.
    pub(crate) fn post(
        self: &Arc<Self>,
        qp: &Qp,
        route: Route,
        memory: O::Memory,
        context: O::Context,
        due: u64,
    ) -> Result<(), Refused<O>> {
        let refuse = |memory, context, error| {
            Err(Refused {
                memory,
                context,
                error,
            })
        };
        let Some(slot) = self.claim() else {
            return refuse(memory, context, EAGAIN);
        };
        let direction = match route.verb {
            Verb::Write => Direction::ToDevice,
            Verb::Read => Direction::FromDevice,
        };
        let mapping = match Mapping::new(qp, memory.page(), route.len, direction) {
            Ok(mapping) => mapping,
            Err(error) => {
                self.release(slot);
                return refuse(memory, context, error);
            }
        };
        let addr = mapping.addr();
        let posted = Posted {
            pool: self.clone(),
            memory,
            context,
            mapping,
        };
        // SAFETY: The slot is claimed, so `posted` is this function's.
        unsafe { *slot.posted.get() = Some(posted) };
        slot.due.store(due, Ordering::Relaxed);

        let mut sge = bindings::ib_sge {
            addr,
            length: route.len,
            lkey: qp.local_dma_lkey(),
        };
        let mut wr = bindings::ib_rdma_wr {
            remote_addr: route.addr,
            rkey: route.rkey,
            ..Default::default()
        };
        wr.wr.__bindgen_anon_1.wr_cqe = slot.cqe.get();
        wr.wr.sg_list = &mut sge;
        wr.wr.num_sge = 1;
        wr.wr.send_flags = bindings::ib_send_flags_IB_SEND_SIGNALED as i32;
        wr.wr.opcode = match route.verb {
            Verb::Write => bindings::ib_wr_opcode_IB_WR_RDMA_WRITE,
            Verb::Read => bindings::ib_wr_opcode_IB_WR_RDMA_READ,
        };
        // SAFETY: The request and its list are copied by the call. The slot stays, by the
        // reference in `posted`, and the memory stays, mapped, until `done`.
        match unsafe { qp.post_send(ptr::addr_of!(wr.wr)) } {
            Ok(()) => Ok(()),
            Err(error) => {
                // SAFETY: Not posted, so the slot is still this function's.
                let posted = unsafe { (*slot.posted.get()).take() };
                self.release(slot);
                match posted {
                    Some(Posted {
                        memory,
                        context,
                        mapping,
                        ..
                    }) => {
                        drop(mapping);
                        refuse(memory, context, error)
                    }
                    // Put there above.
                    None => Ok(()),
                }
            }
        }
    }

    /// The earliest `due` of what is posted; `None` when nothing is.
    pub(crate) fn first_due(&self) -> Option<u64> {
        let dues = self.slots.iter().map(|s| s.due.load(Ordering::Relaxed));
        dues.min().filter(|due| *due != u64::MAX)
    }

    fn claim(&self) -> Option<&Slot<O>> {
        let mut busy = self.busy.load(Ordering::Relaxed);
        loop {
            let slot = self.slots.get((!busy).trailing_zeros() as usize)?;
            match self.busy.compare_exchange_weak(
                busy,
                busy | slot.bit,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(slot),
                Err(now) => busy = now,
            }
        }
    }

    fn release(&self, slot: &Slot<O>) {
        slot.due.store(u64::MAX, Ordering::Relaxed);
        self.busy.fetch_and(!slot.bit, Ordering::Release);
    }
}

/// A slot's completion.
///
/// # Safety
///
/// Called by the completion queue, once for each post, with the `ib_cqe` of that slot.
unsafe extern "C" fn done<O: Operation>(_cq: *mut bindings::ib_cq, wc: *mut bindings::ib_wc) {
    // SAFETY: By this function's contract `wc` is valid and holds what was posted.
    let (cqe, outcome) = unsafe { ((*wc).__bindgen_anon_1.wr_cqe, Outcome((*wc).status)) };
    let cqe: *mut Opaque<bindings::ib_cqe> = cqe.cast();
    // SAFETY: Every `ib_cqe` posted with this function is that of a `Slot<O>`, and `posted` in it
    // holds a reference to the pool it is in.
    let slot = unsafe { &*kernel::container_of!(cqe, Slot<O>, cqe) };
    // SAFETY: The adapter gave the slot back, to this call.
    let Some(posted) = (unsafe { (*slot.posted.get()).take() }) else {
        return;
    };
    let Posted {
        pool,
        memory,
        context,
        mapping,
    } = posted;
    drop(mapping);
    pool.release(slot);
    O::completed(memory, context, outcome);
}
