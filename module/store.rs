// SPDX-License-Identifier: GPL-2.0-only

//! Pages on their way out.
//!
//! Called by reclaim: nothing here allocates or waits for a connection. A store that cannot be
//! posted is declined, and the page goes to the swap device in the same pass. A posted one ends
//! with its completion and with nothing else: when it takes too long the session ends, and that
//! brings the completion.
//!
//! Stores are taken in one by one and posted together, by [`Stores::commit`]: reclaim says when, or
//! a store that finds as many under way as may be. With a depth of one, each is so posted alone, and
//! ends before the next is.
//!
//! Reclaim that is faster than the link is held up, as by any device: [`Stores::take`] waits for
//! an earlier store to end. That takes no longer than a store may take, since then the session
//! ends, which ends all stores and turns those who wait away.
//!
//! Lock: `Stores::path`, a spinlock; the queue pair's own is taken inside it.

use crate::clock::{now_ms, now_ns};
use crate::complaint::Complaint;
use crate::driver;
use crate::latency;
use crate::logic::credits::{Credit, Semaphore as _};
use crate::map::Path;
use crate::session;
use crate::verbs::operation::{Operation, Outcome, Times};
use crate::verbs::pool::{Pool, Signals, Verb, MAX_SLOTS};
use crate::verbs::swap::{Declined, StoreTicket};
use crate::verbs::wait::Credits;
use core::sync::atomic::{AtomicU64, Ordering};
use kernel::prelude::*;
use kernel::sync::{new_spinlock, Arc, SpinLock};

/// Stores that may be under way at a time, and are unless fewer are asked for.
pub(crate) const DEPTH: usize = MAX_SLOTS;

/// The store queue pair's traffic.
#[pin_data]
pub(crate) struct Stores {
    // `None` while stores are off.
    #[pin]
    path: SpinLock<Option<Path>>,
    // One for each store that may be under way: no more than the pool has slots.
    #[pin]
    credits: Credits,
    pool: Arc<Pool<Store>>,
    done: AtomicU64,
    errors: AtomicU64,
}

impl Stores {
    /// Off. Up to `depth` may be under way at a time.
    pub(crate) fn new(depth: u16) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            path <- new_spinlock!(None, "remoteswap_stores"),
            credits <- Credits::new(depth),
            pool: Pool::new(DEPTH)?,
            done: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        })
    }

    /// From now on stores are posted there. Nothing of an earlier session is in flight.
    pub(crate) fn open(&self, path: Path) {
        *self.path.lock() = Some(path);
    }

    /// From now on stores are declined, and nobody is posting one.
    pub(crate) fn close(&self) {
        // Let go of it after the lock.
        let _path = self.path.lock().take();
    }

    /// Ends what was held back, or is not going to complete: the queue pair was drained.
    pub(crate) fn drained(&self) {
        self.pool.abandon();
    }

    /// Takes a store in for the next [`Stores::commit`], or declines it.
    pub(crate) fn take(&self, ticket: StoreTicket, timeout_ms: u32) -> Result<(), Declined> {
        if self.path.lock().is_none() {
            return Err(ticket.decline());
        }
        let Some(credit) = self.credit(timeout_ms) else {
            return Err(ticket.decline());
        };
        self.take_with_credit(ticket, credit, timeout_ms)
            .map_err(|(ticket, credit)| {
                self.credits.give(credit);
                ticket.decline()
            })
    }

    /// Posts all that were taken.
    pub(crate) fn commit(&self) {
        let path = self.path.lock();
        let Some(open) = &*path else {
            return;
        };
        let posted = self.pool.commit(open.qp());
        drop(path);
        if let Err(error) = posted {
            session::fail(Complaint::Verbs("posting stores", error));
        }
    }

    fn credit(&self, timeout_ms: u32) -> Option<Credit> {
        let mut since = None;
        // What is held back has credits too.
        let credit = self.credits.take(timeout_ms, || {
            self.commit();
            since = Some(now_ns());
        });
        if let Some(since) = since {
            latency::STORE_WAIT.record(now_ns().saturating_sub(since));
        }
        credit
    }

    fn take_with_credit(
        &self,
        ticket: StoreTicket,
        credit: Credit,
        timeout_ms: u32,
    ) -> Result<(), (StoreTicket, Credit)> {
        let path = self.path.lock();
        let Some(open) = &*path else {
            return Err((ticket, credit));
        };
        let Some(route) = open.page(Verb::Write, ticket.slot()) else {
            return Err((ticket, credit));
        };
        let due = now_ms() + u64::from(timeout_ms);
        let held = self.pool.hold(open.qp(), route, ticket, credit, due);
        drop(path);
        held.map_err(|refused| {
            // No room is how a busy session looks.
            if refused.error != EAGAIN && refused.error != ENOMEM {
                session::fail(Complaint::Verbs("preparing a store", refused.error));
            }
            (refused.memory, refused.context)
        })
    }

    /// When the first of the posted ones must be done.
    pub(crate) fn first_due(&self) -> Option<u64> {
        self.pool.first_due()
    }

    fn completed(&self, ticket: StoreTicket, credit: Credit, outcome: Outcome) {
        if outcome.is_ok() {
            self.done.fetch_add(1, Ordering::Relaxed);
            ticket.finish(Ok(()));
        } else {
            self.errors.fetch_add(1, Ordering::Relaxed);
            session::fail(Complaint::Failed("store", outcome));
            ticket.finish(Err(EIO));
        }
        self.credits.give(credit);
    }

    /// What the adapter had to do with them.
    pub(crate) fn signals(&self) -> Signals {
        self.pool.signals()
    }

    /// How many were stored, and how many failed on the way.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (
            self.done.load(Ordering::Relaxed),
            self.errors.load(Ordering::Relaxed),
        )
    }
}

/// WRITE of a page to its place.
pub(crate) struct Store;

impl Operation for Store {
    type Memory = StoreTicket;
    type Context = Credit;

    fn completed(ticket: StoreTicket, credit: Credit, outcome: Outcome, times: Option<Times>) {
        if let Some(times) = times.filter(|times| times.last) {
            latency::STORE_GATHER.record(times.posted.saturating_sub(times.held));
            latency::STORE_BATCH.record(times.ended.saturating_sub(times.posted));
        }
        // Without a driver the ticket fails by being dropped.
        if let Some(driver) = driver::get() {
            driver.stores.completed(ticket, credit, outcome);
        }
    }
}
