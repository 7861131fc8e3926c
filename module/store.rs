// SPDX-License-Identifier: GPL-2.0-only

//! Pages on their way out.
//!
//! Called by reclaim: nothing here sleeps, allocates, or waits for a connection. A store that
//! cannot be posted right now is declined, and the page goes to the swap device in the same pass.
//! A posted one ends with its completion and with nothing else: when it takes too long the session
//! ends, and that brings the completion.
//!
//! Lock: `Stores::path`, a spinlock; the queue pair's own is taken inside it.

use crate::complaint::Complaint;
use crate::map::Path;
use crate::session;
use crate::verbs::pool::{Operation, Outcome, Pool, Verb, MAX_SLOTS};
use crate::verbs::swap::{Declined, StoreTicket};
use core::sync::atomic::{AtomicU64, Ordering};
use kernel::prelude::*;
use kernel::sync::{new_spinlock, Arc, SpinLock};

/// Stores that may be out at a time.
pub(crate) const DEPTH: usize = MAX_SLOTS;

/// The store queue pair's traffic.
#[pin_data]
pub(crate) struct Stores {
    // `None` while stores are off.
    #[pin]
    path: SpinLock<Option<Path>>,
    pool: Arc<Pool<Store>>,
    done: AtomicU64,
    errors: AtomicU64,
}

impl Stores {
    /// Off.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            path <- new_spinlock!(None, "remoteswap_stores"),
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

    /// Posts a store, or declines it.
    pub(crate) fn post(&self, ticket: StoreTicket, due: u64) -> Result<(), Declined> {
        let path = self.path.lock();
        let Some(open) = &*path else {
            return Err(ticket.decline());
        };
        let Some(route) = open.page(Verb::Write, ticket.slot()) else {
            return Err(ticket.decline());
        };
        let posted = self.pool.post(open.qp(), route, ticket, (), due);
        drop(path);
        posted.map_err(|refused| {
            // No slot or no room is how a busy session looks.
            if refused.error != EAGAIN && refused.error != ENOMEM {
                session::fail(Complaint::Verbs("posting a store", refused.error));
            }
            refused.memory.decline()
        })
    }

    /// When the first of the posted ones must be done.
    pub(crate) fn first_due(&self) -> Option<u64> {
        self.pool.first_due()
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
    type Context = ();

    fn completed(ticket: StoreTicket, (): (), outcome: Outcome) {
        let count = |counter: fn(&Stores) -> &AtomicU64| {
            if let Some(driver) = crate::driver::get() {
                counter(&driver.stores).fetch_add(1, Ordering::Relaxed);
            }
        };
        if outcome.is_ok() {
            count(|stores| &stores.done);
            ticket.finish(Ok(()));
        } else {
            count(|stores| &stores.errors);
            session::fail(Complaint::Failed("store", outcome));
            ticket.finish(Err(EIO));
        }
    }
}
