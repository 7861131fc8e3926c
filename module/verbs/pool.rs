// SPDX-License-Identifier: GPL-2.0-only

//! Operations of a kind on one queue pair: who gets a slot, what is posted together, what ends.
//!
//! C header: `include/rdma/ib_verbs.h`.
//!
//! Lock: `Pool::order`, a spinlock that is never taken in interrupts; the queue pair's own is
//! taken inside it. Slots, whose life [`slot`](super::slot) tells, are claimed by atomics.
//! Allocates only in [`Pool::new`]; all else may be called where reclaim is.
//!
//! Which of them share a work request, and which a completion ends, is what [`SendQueue`] says.
//!
//! Over iWARP a WRITE completes when it is sent. There a small READ of the same queue pair is
//! posted behind the last one, and its completion stands for all: it is answered after what was
//! sent before it was placed (RFC 5040, 5.5). A READ that fails ends none of them: the connection
//! or the deadline ends the session, and they are ended when the queue pair has been drained.

use super::bindings;
use super::dma::{Direction, Mapping};
use super::operation::{Memory as _, Operation, Outcome, Times};
use super::qp::Qp;
use super::slot::{Posted, Slot};
use crate::clock::now_ns;
use crate::logic::bitmap::Bitmap;
pub(crate) use crate::logic::bitmap::MAX_SLOTS;
use crate::logic::send_queue::{Ending, Held, SendQueue};
pub(crate) use crate::logic::send_queue::{Route, Verb};
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};
use kernel::prelude::*;
use kernel::sync::{new_spinlock, Arc, SpinLock};

fn opcode(verb: Verb) -> bindings::ib_wr_opcode {
    match verb {
        Verb::Write => bindings::ib_wr_opcode_IB_WR_RDMA_WRITE,
        Verb::Read => bindings::ib_wr_opcode_IB_WR_RDMA_READ,
    }
}

const SIGNALED: i32 = bindings::ib_send_flags_IB_SEND_SIGNALED as i32;

/// An operation that was not posted, with all that belongs to it.
pub(crate) struct Refused<O: Operation> {
    pub(crate) memory: O::Memory,
    pub(crate) context: O::Context,
    pub(crate) error: Error,
}

struct Order {
    queue: SendQueue,
    // When the first of those that are held was held back.
    held_ns: u64,
    // The pieces of the requests that they make, in their order.
    pieces: [bindings::ib_sge; MAX_SLOTS],
}

/// How often a pool and its adapter have had to do with each other.
#[derive(Clone, Copy)]
pub(crate) struct Signals {
    /// The adapter was told of work.
    pub(crate) doorbells: u64,
    /// Work requests that it was given.
    pub(crate) requests: u64,
    /// It told of their end.
    pub(crate) completions: u64,
}

/// Slots for up to [`MAX_SLOTS`] operations of a kind, on one queue pair at a time.
///
/// # Invariants
///
/// `slots` never moves or changes its length, and each slot's `index` is its own. `claimed` has as
/// many. What is in `Order` is not free, and in it once.
#[pin_data]
pub(crate) struct Pool<O: Operation> {
    slots: KVec<Slot<O>>,
    claimed: Bitmap,
    #[pin]
    order: SpinLock<Order>,
    doorbells: AtomicU64,
    requests: AtomicU64,
    completions: AtomicU64,
}

// SAFETY: A slot's contents belong to whoever claimed it, and can be sent there.
unsafe impl<O: Operation> Send for Pool<O> {}
// SAFETY: As above; what is shared is atomic or locked.
unsafe impl<O: Operation> Sync for Pool<O> {}

impl<O: Operation> Pool<O> {
    /// A pool of `count` slots, at most [`MAX_SLOTS`].
    pub(crate) fn new(count: usize) -> Result<Arc<Pool<O>>> {
        let claimed = Bitmap::new(count).ok_or(EINVAL)?;
        let mut slots = KVec::with_capacity(count, GFP_KERNEL)?;
        for index in 0..count {
            slots.push(Slot::new(index as u8), GFP_KERNEL)?;
        }
        // INVARIANT: As filled above; nothing hands out `&mut slots`.
        Arc::pin_init(
            pin_init!(Self {
                slots,
                claimed,
                order <- new_spinlock!(
                    Order {
                        queue: SendQueue::new(),
                        held_ns: 0,
                        pieces: [bindings::ib_sge::default(); MAX_SLOTS],
                    },
                    "remoteswap_order"
                ),
                doorbells: AtomicU64::new(0),
                requests: AtomicU64::new(0),
                completions: AtomicU64::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// Maps the memory. The adapter gets it with the next [`Pool::commit`], and finishes it by
    /// [`Operation::completed`]. `due` is what [`Pool::first_due`] compares.
    pub(crate) fn hold(
        self: &Arc<Self>,
        qp: &Qp,
        route: Route,
        memory: O::Memory,
        context: O::Context,
        due: u64,
    ) -> Result<(), Refused<O>> {
        let slot = self.fill(qp, route, memory, context, due)?;
        let mut order = self.order.lock();
        if order.queue.held_len() == 0 {
            order.held_ns = now_ns();
        }
        self.hold_slot(&mut order, qp, slot, &route);
        Ok(())
    }

    /// Whether there is room for another operation with no more than `most` work requests under
    /// way: a free slot, and a request that it would be a piece of or that may be begun.
    pub(crate) fn has_room(&self, qp: &Qp, route: &Route, most: usize) -> bool {
        let pieces = qp.pieces(route.verb);
        !self.claimed.is_full() && self.order.lock().queue.has_room(route, pieces, most)
    }

    /// Posts all that is held: one doorbell, and for WRITEs one completion. Where that fails the
    /// session is to end: what was held ends with it, and nothing more is posted before.
    pub(crate) fn commit(&self, qp: &Qp) -> Result {
        self.flush(&mut self.order.lock(), qp)
    }

    /// Ends what is held, or was posted on a queue pair that has been drained since. To be called
    /// before the queue pair goes.
    pub(crate) fn abandon(&self) {
        let mut slots = self.order.lock().queue.abandon();
        while let Some(index) = slots.pop() {
            // SAFETY: Just taken out; the adapter has nothing any more.
            if let Some((memory, context)) = unsafe { self.take(index) } {
                O::completed(memory, context, Outcome::flushed(), None);
            }
        }
    }

    /// The earliest `due` of what is held or posted; `None` when nothing is.
    pub(crate) fn first_due(&self) -> Option<u64> {
        let dues = self.slots.iter().map(|s| s.due.load(Ordering::Relaxed));
        dues.min().filter(|due| *due != u64::MAX)
    }

    /// Since the pool was made.
    pub(crate) fn signals(&self) -> Signals {
        Signals {
            doorbells: self.doorbells.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            completions: self.completions.load(Ordering::Relaxed),
        }
    }

    /// Claims a slot and makes a work request in it.
    fn fill(
        self: &Arc<Self>,
        qp: &Qp,
        route: Route,
        memory: O::Memory,
        context: O::Context,
        due: u64,
    ) -> Result<&Slot<O>, Refused<O>> {
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
        let sge = bindings::ib_sge {
            addr: mapping.addr(),
            length: route.len,
            lkey: qp.local_dma_lkey(),
        };
        let mut request = bindings::ib_rdma_wr {
            remote_addr: route.addr,
            rkey: route.rkey,
            ..Default::default()
        };
        request.wr.opcode = opcode(route.verb);
        let posted = Posted {
            pool: self.clone(),
            memory,
            context,
            mapping,
        };
        // SAFETY: The slot is claimed, so all in it is this function's.
        unsafe {
            *slot.sge.get() = sge;
            *slot.request.get() = request;
            *slot.posted.get() = Some(posted);
        }
        slot.qp.store(qp.as_ptr(), Ordering::Release);
        slot.due.store(due, Ordering::Relaxed);
        Ok(slot)
    }

    /// Puts a slot behind those that are held: into the last one's request, or with its own.
    fn hold_slot(&self, order: &mut Order, qp: &Qp, slot: &Slot<O>, route: &Route) {
        let at = order.queue.held_len();
        let held = order.queue.hold(slot.index, route, qp.pieces(route.verb));
        let (Some(piece), Some(held)) = (order.pieces.get_mut(at), held) else {
            // There is room for every slot, and this one was not in it.
            return;
        };
        // SAFETY: The slot is claimed by the caller.
        *piece = unsafe { *slot.sge.get() };
        let begun = match held {
            Held::Joins(begun) => self.slot(begun),
            Held::Begins { .. } => Some(slot),
        };
        let Some(begun) = begun else { return };
        // SAFETY: Claimed by the caller, or held, and the caller has the lock.
        let request = unsafe { &mut *begun.request.get() };
        request.wr.num_sge += 1;
        request.wr.__bindgen_anon_1.wr_cqe = slot.cqe.get();
        if let Held::Begins { behind, signalled } = held {
            request.wr.sg_list = piece;
            if signalled {
                request.wr.send_flags = SIGNALED;
            }
            if let Some(before) = behind.and_then(|before| self.slot(before)) {
                // SAFETY: Held, and the caller has the lock.
                unsafe { (*before.request.get()).wr.next = &mut request.wr };
            }
            self.requests.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self, order: &mut Order, qp: &Qp) -> Result {
        let Some(batch) = order.queue.batch() else {
            return Ok(());
        };
        let ends = (
            self.slot(batch.first),
            self.slot(batch.request),
            self.slot(batch.last),
        );
        let (Some(first), Some(last_request), Some(last)) = ends else {
            return Ok(());
        };
        let mut sink;
        let mut fence = bindings::ib_rdma_wr::default();
        // SAFETY: Held, so it is this function's: it has the lock.
        let request = unsafe { &mut *last_request.request.get() };
        if let Some(given) = qp.fence().filter(|_| batch.verb == Verb::Write) {
            sink = given;
            fence.remote_addr = request.remote_addr;
            fence.rkey = request.rkey;
            fence.wr.__bindgen_anon_1.wr_cqe = last.fence.get();
            fence.wr.sg_list = &mut sink;
            fence.wr.num_sge = 1;
            fence.wr.opcode = opcode(Verb::Read);
            fence.wr.send_flags = SIGNALED;
            request.wr.next = &mut fence.wr;
        } else {
            request.wr.send_flags = SIGNALED;
        }
        self.doorbells.fetch_add(1, Ordering::Relaxed);
        let now = now_ns();
        for slot in order.queue.held().filter_map(|index| self.slot(index)) {
            slot.held_ns.store(order.held_ns, Ordering::Relaxed);
            slot.posted_ns.store(now, Ordering::Relaxed);
        }
        // SAFETY: The list and the completions that it names are in the slots, which stay by the
        // references in `Posted`; its pieces are copied by the call. The memory stays, mapped, until
        // its completion or until the queue pair is drained; the sink as long as the queue pair.
        let result = unsafe { qp.post_send(first.wr()) };
        order.queue.posted(result.is_ok());
        result
    }

    fn slot(&self, index: u8) -> Option<&Slot<O>> {
        self.slots.get(usize::from(index))
    }

    fn claim(&self) -> Option<&Slot<O>> {
        self.slot(self.claimed.claim()?)
    }

    fn release(&self, slot: &Slot<O>) {
        slot.due.store(u64::MAX, Ordering::Relaxed);
        self.claimed.release(slot.index);
    }

    /// Takes out what was in a slot, and frees it.
    ///
    /// # Safety
    ///
    /// The slot was taken out of `Order` by the caller, who owns it therefore.
    unsafe fn take(&self, index: u8) -> Option<(O::Memory, O::Context)> {
        let slot = self.slot(index)?;
        slot.qp.store(ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: By this function's contract.
        let posted = unsafe { (*slot.posted.get()).take() }?;
        let Posted {
            pool,
            memory,
            context,
            mapping,
        } = posted;
        drop(mapping);
        self.release(slot);
        // The caller has a reference of its own.
        drop(pool);
        Some((memory, context))
    }

    /// Takes out the next slot that a completion ends.
    fn end_next(&self, ending: &mut Ending) -> Option<u8> {
        ending.next(&mut self.order.lock().queue)
    }

    /// Ends everything up to a slot.
    pub(super) fn completed(&self, index: u8, outcome: Outcome) {
        self.completions.fetch_add(1, Ordering::Relaxed);
        let last = self.slot(index).filter(|_| outcome.is_ok());
        let times = last.map(|slot| slot.times(now_ns()));
        let mut ending = Ending::of(index, &self.order.lock().queue);
        while let Some(next) = self.end_next(&mut ending) {
            // SAFETY: Just taken out; the adapter has done with it, by what `SendQueue` says.
            if let Some((memory, context)) = unsafe { self.take(next) } {
                let last = next == index;
                let times = times.map(|times| Times { last, ..times });
                O::completed(memory, context, outcome, times);
            }
        }
    }
}
