// SPDX-License-Identifier: GPL-2.0-only

//! Pages on their way back.
//!
//! A load is out, or it waits: for its turn, since only so many READs may be outstanding, each of
//! one page or of several beside each other; or for a session. One that fails waits again, for the
//! next session, because the page may yet be there: a load ends with its page, with the memory that
//! held it, or at its deadline. Only a waiting one can meet its deadline; the session of one that
//! is out ends first.
//!
//! All that is for loads that somebody cannot do without. Others (what is read ahead, pages of a
//! large folio) never wait for a session, and leave some of the credits to the former: so a server
//! that does not answer keeps nobody from asking it for the page that he needs.
//!
//! Lock: `Loads::state`, a spinlock; the queue pair's own is taken inside it. Only
//! [`Loads::accept`] sleeps, while too many loads are under way. Allocates only in [`Loads::new`].

use crate::clock::{now_ms, now_ns};
use crate::complaint::Complaint;
use crate::driver;
use crate::errno;
use crate::latency;
use crate::logic::backlog::{Backlog, Stop, Waiting};
use crate::logic::credits::{Shared, Shares};
use crate::map::Path;
use crate::session;
use crate::verbs::operation::{Operation, Outcome, Times};
use crate::verbs::pool::{Pool, Refused, Signals, Verb, MAX_SLOTS};
use crate::verbs::swap::{Failed, LoadTicket};
use crate::verbs::wait::Credits;
use core::sync::atomic::{AtomicU64, Ordering};
use kernel::prelude::*;
use kernel::sync::{new_spinlock, Arc, SpinLock};
use kernel::time::NSEC_PER_MSEC;

/// Loads that may be under way at a time, out or waiting. Who finds no room waits with the lock of
/// his address space: so there is some for each of many threads that miss a server.
const LIMIT: usize = 1024;
/// Of these, how many may be read ahead, at most.
const COMMON: usize = 48;
/// How many may be out.
const OUT: usize = MAX_SLOTS;
/// How long others may wait for a credit, in milliseconds: with a lock held that others need.
const OTHERS_WAIT_MS: u32 = 1000;
/// READs that may be outstanding at a time, whatever the peer allows.
pub(crate) const DEPTH: usize = crate::logic::wire::MAX_READS as usize;

struct Load {
    ticket: LoadTicket,
    wish: Wish,
}

impl Waiting for Load {
    fn due(&self) -> u64 {
        self.wish.due
    }
}

/// Where loads wait.
struct Places(KVVec<Option<Load>>);

impl Places {
    fn new() -> Result<Places> {
        let mut places = KVVec::with_capacity(LIMIT, GFP_KERNEL)?;
        for _ in 0..LIMIT {
            places.push(None, GFP_KERNEL)?;
        }
        Ok(Places(places))
    }
}

impl AsRef<[Option<Load>]> for Places {
    fn as_ref(&self) -> &[Option<Load>] {
        &self.0
    }
}

impl AsMut<[Option<Load>]> for Places {
    fn as_mut(&mut self) -> &mut [Option<Load>] {
        &mut self.0
    }
}

/// What belongs to a load besides its page.
pub(crate) struct Wish {
    // In nanoseconds.
    asked: u64,
    // When it must be done, in milliseconds.
    due: u64,
    of_fault: bool,
    demand: bool,
    credit: Shared,
}

impl Wish {
    fn record(&self, times: Times) {
        let stage = if self.of_fault {
            &latency::LOAD_FAULT
        } else {
            &latency::LOAD_CACHE
        };
        stage.record(times.ended.saturating_sub(times.posted));
        latency::LOAD_WAIT.record(times.posted.saturating_sub(self.asked));
    }
}

struct State {
    // `None` while there is no session.
    path: Option<Path>,
    // How many READs may be out.
    window: usize,
    // How long the session may take for one of them at least.
    patience_ms: u32,
    waiting: Backlog<Load, Places>,
}

/// The load queue pair's traffic.
#[pin_data]
pub(crate) struct Loads {
    #[pin]
    state: SpinLock<State>,
    // One for each load under way: so there is room in `waiting` for all of them.
    #[pin]
    common: Credits,
    #[pin]
    reserved: Credits,
    pool: Arc<Pool<Read>>,
    done: AtomicU64,
    errors: AtomicU64,
}

impl Loads {
    /// Without a session.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            state <- new_spinlock!(
                State { path: None, window: 0, patience_ms: 0, waiting: Backlog::of(Places::new()?) },
                "remoteswap_loads"
            ),
            common <- Credits::new(COMMON as u16),
            reserved <- Credits::new((LIMIT - COMMON) as u16),
            pool: Pool::new(OUT)?,
            done: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        })
    }

    /// From now on loads are posted there, by `window` READs at a time. The session has `patience_ms` for
    /// each, however soon its own time is over.
    pub(crate) fn open(&self, path: Path, window: usize, patience_ms: u32) {
        let mut state = self.state.lock();
        state.path = Some(path);
        state.window = window;
        state.patience_ms = patience_ms;
        drop(state);
        self.pump();
    }

    /// From now on loads on demand wait, others end, and nobody is posting anything.
    pub(crate) fn close(&self) {
        // Let go of it after the lock.
        let _path = self.state.lock().path.take();
        self.end_waiting(|waiting| waiting.take(|load| !load.wish.demand), EAGAIN);
    }

    /// Takes back what did not complete: the queue pair was drained. Not every driver tells of each
    /// READ whose connection has ended, and one that is never taken back would be overdue for ever.
    pub(crate) fn drained(&self) {
        self.pool.abandon();
    }

    /// Runs `act` with the session, and so before it ends. May not sleep.
    pub(crate) fn with_path<R>(&self, act: impl FnOnce(&Path) -> R) -> Option<R> {
        self.state.lock().path.as_ref().map(act)
    }

    /// Takes a load in, for the next [`Loads::pump`].
    pub(crate) fn accept(&self, ticket: LoadTicket, timeout_ms: u32) -> Result<(), Failed> {
        let asked = now_ns();
        let due = asked / NSEC_PER_MSEC as u64 + u64::from(timeout_ms);
        let of_fault = ticket.of_fault();
        let demand = ticket.demand();
        if !demand && self.with_path(|_| ()).is_none() {
            return Err(ticket.fail(EAGAIN));
        }
        let wait_ms = if demand {
            timeout_ms
        } else {
            timeout_ms.min(OTHERS_WAIT_MS)
        };
        // Those that wait for the pump have credits too.
        let Some(credit) = self.credits().take(demand, wait_ms, || self.pump()) else {
            if !demand {
                return Err(ticket.fail(EAGAIN));
            }
            self.errors.fetch_add(1, Ordering::Relaxed);
            return Err(ticket.fail(errno::timed_out()));
        };
        let wish = Wish {
            asked,
            due,
            of_fault,
            demand,
            credit,
        };
        self.park(Load { ticket, wish });
        Ok(())
    }

    fn credits(&self) -> Shares<'_, Credits> {
        Shares {
            common: &self.common,
            reserved: &self.reserved,
        }
    }

    /// Posts what waits, as far as it may be out: those beside each other together.
    pub(crate) fn pump(&self) {
        loop {
            let mut guard = self.state.lock();
            let state = &mut *guard;
            let Some(path) = &state.path else { return };
            let now = now_ms();
            // However soon or late a load's own time is over, a session has this for it: first the
            // sign of life that stands behind it is missed.
            let due = now + 2 * u64::from(state.patience_ms);
            let stop = state.waiting.pump(
                now,
                |load| path.page(Verb::Read, load.ticket.slot()),
                |route| self.pool.has_room(path.qp(), route, state.window),
                |Load { ticket, wish }, route| {
                    let held = self.pool.hold(path.qp(), route, ticket, wish, due);
                    held.map_err(not_held)
                },
            );
            let posted = self.pool.commit(path.qp());
            drop(guard);
            if let Err(error) = posted {
                session::fail(Complaint::Verbs("posting loads", error));
            }
            match stop {
                Stop::Waiting => return,
                Stop::Over(load) => self.end(load, Err(errno::timed_out())),
                Stop::Nowhere(load) => self.end(load, Err(EIO)),
                Stop::Refused(load, error) => {
                    self.park(load);
                    // With no room a completion or the next tick goes on here.
                    if error != EAGAIN && error != ENOMEM {
                        session::fail(Complaint::Verbs("preparing a load", error));
                    }
                    return;
                }
            }
        }
    }

    /// Ends the waiting loads whose time is over.
    pub(crate) fn expire(&self, now: u64) {
        self.end_waiting(|waiting| waiting.expired(now), errno::timed_out());
    }

    /// Ends all waiting loads: what they are for is gone.
    pub(crate) fn lose(&self) {
        self.end_waiting(Backlog::pop, EIO);
    }

    /// When the first of those that are out must be done.
    pub(crate) fn first_due(&self) -> Option<u64> {
        self.pool.first_due()
    }

    /// How many were loaded, how many failed for good, and how many wait.
    pub(crate) fn counts(&self) -> (u64, u64, usize) {
        (
            self.done.load(Ordering::Relaxed),
            self.errors.load(Ordering::Relaxed),
            self.state.lock().waiting.len(),
        )
    }

    /// What the adapter had to do with them.
    pub(crate) fn signals(&self) -> Signals {
        self.pool.signals()
    }

    fn completed(&self, load: Load, outcome: Outcome) {
        if outcome.is_ok() {
            self.end(load, Ok(()));
            self.pump();
        } else {
            self.park(load);
            session::fail(Complaint::Failed("load", outcome));
        }
    }

    fn park(&self, load: Load) {
        let mut state = self.state.lock();
        let parked = if load.wish.demand || state.path.is_some() {
            // Its credit says that there is room.
            state.waiting.park(load).map_err(|load| (load, EIO))
        } else {
            Err((load, EAGAIN))
        };
        drop(state);
        if let Err((load, error)) = parked {
            self.end(load, Err(error));
        }
    }

    fn end_waiting(&self, next: impl Fn(&mut Backlog<Load, Places>) -> Option<Load>, error: Error) {
        loop {
            let found = next(&mut self.state.lock().waiting);
            match found {
                Some(load) => self.end(load, Err(error)),
                None => return,
            }
        }
    }

    // With no lock held: the core takes its own.
    fn end(&self, load: Load, result: Result) {
        let Load { ticket, wish } = load;
        if result.is_ok() {
            self.done.fetch_add(1, Ordering::Relaxed);
            ticket.finish(result);
        } else if wish.demand {
            self.errors.fetch_add(1, Ordering::Relaxed);
            ticket.finish(result);
        } else {
            // Who needs it will ask for it, and be told why it is not to be had.
            ticket.finish(Err(EAGAIN));
        }
        self.credits().give(wish.credit);
    }
}

fn not_held(refused: Refused<Read>) -> (Load, Error) {
    let load = Load {
        ticket: refused.memory,
        wish: refused.context,
    };
    (load, refused.error)
}

/// READ of a page from its place.
pub(crate) struct Read;

impl Operation for Read {
    type Memory = LoadTicket;
    type Context = Wish;

    fn completed(ticket: LoadTicket, wish: Wish, outcome: Outcome, times: Option<Times>) {
        if let Some(times) = times {
            wish.record(times);
        }
        // Without a driver the ticket fails by being dropped.
        if let Some(driver) = driver::get() {
            driver.loads.completed(Load { ticket, wish }, outcome);
        }
    }
}
