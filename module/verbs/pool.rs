// SPDX-License-Identifier: GPL-2.0-only

//! Preallocated work requests: who owns what while an adapter is at it.
//!
//! C header: `include/rdma/ib_verbs.h`.
//!
//! Lock: `Pool::order`, a spinlock that is never taken in interrupts; the queue pair's own is
//! taken inside it. Slots are claimed by atomics. Allocates only in [`Pool::new`]; all else may
//! be called where reclaim is.
//!
//! The life of a slot:
//!
//! - free: its bit in `claimed` is clear. Nobody looks at what is in it.
//! - claimed: the bit is set, and who set it owns the slot.
//! - held: in `Order::queue`, and owned by who has the lock.
//! - posted: the adapter owns the memory, the slot's `ib_cqe` and `posted`, until [`done`] or
//!   until its queue pair was drained. There is no other way back: a timeout does not end it, and
//!   [`Qp`](super::qp::Qp) waits for both before it goes.
//!
//! Which of them share a work request, and which a completion ends, is what [`SendQueue`] says.
//!
//! Over iWARP a WRITE completes when it is sent. There a small READ of the same queue pair is
//! posted behind the last one, and its completion stands for all: it is answered after what was
//! sent before it was placed (RFC 5040, 5.5). A READ that fails ends none of them: the connection
//! or the deadline ends the session, and they are ended when the queue pair has been drained.

use super::bindings;
use super::dma::{Direction, Mapping};
use super::qp::Qp;
use crate::driver::now_ns;
use crate::logic::bitmap::Bitmap;
pub(crate) use crate::logic::bitmap::MAX_SLOTS;
use crate::logic::send_queue::{Ending, Held, SendQueue, Slots};
pub(crate) use crate::logic::send_queue::{Route, Verb};
use core::cell::UnsafeCell;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU64, Ordering};
use kernel::prelude::*;
use kernel::sync::{new_spinlock, Arc, SpinLock};
use kernel::types::Opaque;

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

    /// The adapter has done with it. Called by the completion queue's work; may sleep. `times` are
    /// there if the bytes arrived.
    fn completed(
        memory: Self::Memory,
        context: Self::Context,
        outcome: Outcome,
        times: Option<Times>,
    );
}

/// When a list of operations was where, in nanoseconds.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    /// Its first one was held back; 0 where none is.
    pub(crate) held: u64,
    /// It was about to be posted.
    pub(crate) posted: u64,
    /// Its completion, or that of a part of it, came.
    pub(crate) ended: u64,
    /// This operation is the last one that it ended.
    pub(crate) last: bool,
}

/// How an operation ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome(bindings::ib_wc_status);

impl Outcome {
    /// The queue pair was gone before it could be done.
    pub(crate) fn flushed() -> Outcome {
        Outcome(bindings::ib_wc_status_IB_WC_WR_FLUSH_ERR)
    }

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

/// Operations for which no completion comes, to be ended by whoever gets this.
pub(crate) struct GivenBack<O: Operation> {
    pool: Arc<Pool<O>>,
    slots: Slots,
}

struct Posted<O: Operation> {
    // Keeps the slot's memory until the completion.
    pool: Arc<Pool<O>>,
    memory: O::Memory,
    context: O::Context,
    // `None` for what was refused.
    mapping: Option<Mapping>,
}

struct Slot<O: Operation> {
    cqe: Opaque<bindings::ib_cqe>,
    // For the READ behind it.
    fence: Opaque<bindings::ib_cqe>,
    index: u8,
    // When it must have completed, in the caller's clock; `u64::MAX` while free.
    due: AtomicU64,
    // Of the list that it was posted with.
    held_ns: AtomicU64,
    posted_ns: AtomicU64,
    // Alone, or with those that are held behind it.
    request: UnsafeCell<bindings::ib_rdma_wr>,
    sge: UnsafeCell<bindings::ib_sge>,
    posted: UnsafeCell<Option<Posted<O>>>,
}

impl<O: Operation> Slot<O> {
    fn new(index: u8) -> Slot<O> {
        Slot {
            cqe: Opaque::new(bindings::ib_cqe {
                done: Some(done::<O>),
            }),
            fence: Opaque::new(bindings::ib_cqe {
                done: Some(fenced::<O>),
            }),
            index,
            due: AtomicU64::new(u64::MAX),
            held_ns: AtomicU64::new(0),
            posted_ns: AtomicU64::new(0),
            request: UnsafeCell::new(bindings::ib_rdma_wr::default()),
            sge: UnsafeCell::new(bindings::ib_sge::default()),
            posted: UnsafeCell::new(None),
        }
    }

    fn times(&self, ended: u64) -> Times {
        Times {
            held: self.held_ns.load(Ordering::Relaxed),
            posted: self.posted_ns.load(Ordering::Relaxed),
            ended,
            last: false,
        }
    }

    fn wr(&self) -> *mut bindings::ib_send_wr {
        // SAFETY: Only names a field.
        unsafe { ptr::addr_of_mut!((*self.request.get()).wr) }
    }
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
/// `slots` never moves or changes its length, each slot's `index` is its own, `cqe.done` is
/// [`done`] of this kind of operation and `fence.done` [`fenced`]. `claimed` has as many slots. What is
/// in `Order` is not free, and in it once.
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
        let slot = self.fill(qp, route, memory, context, due)?;
        let mut order = self.order.lock();
        self.hold_slot(&mut order, qp, slot, &route);
        let posted = self.flush(&mut order, qp);
        drop(order);
        posted.or_else(|(error, mut back)| match back.next() {
            Some((memory, context)) => Err(Refused {
                memory,
                context,
                error,
            }),
            None => Ok(()),
        })
    }

    /// As [`Pool::post`], but the adapter gets it with the next [`Pool::commit`]. A pool is used
    /// in one of the two ways.
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

    /// Posts all that is held: one doorbell, and for WRITEs one completion.
    pub(crate) fn commit(self: &Arc<Self>, qp: &Qp) -> Result<(), (Error, GivenBack<O>)> {
        self.flush(&mut self.order.lock(), qp)
    }

    /// Ends what is held, or was posted on a queue pair that has been drained since. To be called
    /// before the queue pair goes.
    pub(crate) fn abandon(self: &Arc<Self>) {
        let slots = self.order.lock().queue.abandon();
        let back = GivenBack {
            pool: self.clone(),
            slots,
        };
        for (memory, context) in back {
            O::completed(memory, context, Outcome::flushed(), None);
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
            mapping: Some(mapping),
        };
        // SAFETY: The slot is claimed, so all in it is this function's.
        unsafe {
            *slot.sge.get() = sge;
            *slot.request.get() = request;
            *slot.posted.get() = Some(posted);
        }
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

    fn flush(self: &Arc<Self>, order: &mut Order, qp: &Qp) -> Result<(), (Error, GivenBack<O>)> {
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
        // `done` or until the queue pair is drained; the sink as long as the queue pair.
        let result = unsafe { qp.post_send(first.wr()) };
        let refused = result.err().and_then(|(bad, _)| {
            let is_bad = |slot: &Slot<O>| ptr::eq(slot.wr(), bad);
            let mut requests = order.queue.held_requests();
            requests.find(|request| self.slot(*request).is_some_and(is_bad))
        });
        let slots = order.queue.posted(refused);
        for slot in slots.iter().filter_map(|index| self.slot(*index)) {
            // The device may be gone when whoever gets them comes to it.
            // SAFETY: Just taken out of `order`, and not given to anybody yet.
            if let Some(posted) = unsafe { &mut *slot.posted.get() } {
                posted.mapping = None;
            }
        }
        result.map_err(|(_, error)| {
            let pool = self.clone();
            (error, GivenBack { pool, slots })
        })
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
    fn completed(&self, index: u8, outcome: Outcome) {
        self.completions.fetch_add(1, Ordering::Relaxed);
        let last = self.slot(index).filter(|_| outcome.is_ok());
        let times = last.map(|slot| slot.times(now_ns()));
        let mut ending = Ending::of(index);
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

impl<O: Operation> Iterator for GivenBack<O> {
    type Item = (O::Memory, O::Context);

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.slots.pop()?;
        // SAFETY: Taken out of `Order` when this was made.
        unsafe { self.pool.take(index) }
    }
}

/// A slot's completion.
///
/// # Safety
///
/// Called by the completion queue, with the `ib_cqe` of a slot that was posted, in the order of
/// the posts, and once at most for each.
unsafe extern "C" fn done<O: Operation>(_cq: *mut bindings::ib_cq, wc: *mut bindings::ib_wc) {
    // SAFETY: By this function's contract `wc` is valid and holds what was posted.
    let (cqe, outcome) = unsafe { ((*wc).__bindgen_anon_1.wr_cqe, Outcome((*wc).status)) };
    let cqe: *mut Opaque<bindings::ib_cqe> = cqe.cast();
    // SAFETY: Every `ib_cqe` posted with this function is that of a `Slot<O>`.
    let slot = unsafe { &*kernel::container_of!(cqe, Slot<O>, cqe) };
    // SAFETY: The adapter gave the slot back, to this call.
    let Some(pool) = (unsafe {
        (*slot.posted.get())
            .as_ref()
            .map(|posted| posted.pool.clone())
    }) else {
        return;
    };
    pool.completed(slot.index, outcome);
}

/// The READ behind the last one of a list was answered, or was not.
///
/// # Safety
///
/// Called by the completion queue, with the `fence` of a slot that was posted as the last one of a
/// list, and once at most for each list.
unsafe extern "C" fn fenced<O: Operation>(_cq: *mut bindings::ib_cq, wc: *mut bindings::ib_wc) {
    // SAFETY: By this function's contract `wc` is valid and holds what was posted.
    let (cqe, outcome) = unsafe { ((*wc).__bindgen_anon_1.wr_cqe, Outcome((*wc).status)) };
    if !outcome.is_ok() {
        // If the WRITE before it has failed too, the slot may be another one's by now.
        return;
    }
    let cqe: *mut Opaque<bindings::ib_cqe> = cqe.cast();
    // SAFETY: Every `ib_cqe` posted with this function is that of a `Slot<O>`.
    let slot = unsafe { &*kernel::container_of!(cqe, Slot<O>, fence) };
    // SAFETY: Posted, and not ended by anything but this call.
    let Some(pool) = (unsafe {
        (*slot.posted.get())
            .as_ref()
            .map(|posted| posted.pool.clone())
    }) else {
        return;
    };
    pool.completed(slot.index, outcome);
}
