// SPDX-License-Identifier: GPL-2.0-only

//! Pages on their way back.
//!
//! A load is out, or it waits: for its turn, since only so many READs may be outstanding, each of
//! one page or of several beside each other; or for a session. One that fails waits again, for the
//! next session, because the page may yet be there: a load ends with its page, with the memory that
//! held it, or at its deadline. Only a waiting one can meet its deadline; the session of one that
//! is out ends first.
//!
//! Lock: `Loads::state`, a spinlock; the queue pair's own is taken inside it. Only
//! [`Loads::accept`] sleeps, while too many loads are under way. Nothing is allocated.

use crate::complaint::Complaint;
use crate::driver::{self, now_ms, now_ns};
use crate::errno;
use crate::latency;
use crate::logic::fifo::Fifo;
use crate::map::Path;
use crate::session;
use crate::verbs::pool::{Operation, Outcome, Pool, Refused, Route, Signals, Times, Verb};
use crate::verbs::swap::{Failed, LoadTicket};
use crate::verbs::wait::Credits;
use core::sync::atomic::{AtomicU64, Ordering};
use kernel::prelude::*;
use kernel::sync::{new_spinlock, Arc, SpinLock};
use kernel::time::NSEC_PER_MSEC;

/// Loads that may be under way at a time, out or waiting.
const LIMIT: usize = 64;
/// READs that may be outstanding at a time, whatever the peer allows.
pub(crate) const DEPTH: usize = crate::logic::wire::MAX_READS as usize;

struct Load {
    ticket: LoadTicket,
    wish: Wish,
}

/// What is known of a load besides its page.
#[derive(Clone, Copy)]
pub(crate) struct Wish {
    // In nanoseconds.
    asked: u64,
    // When it must be done, in milliseconds.
    due: u64,
    of_fault: bool,
}

impl Wish {
    fn record(self, times: Times) {
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
    waiting: Fifo<Load, LIMIT>,
}

/// The load queue pair's traffic.
#[pin_data]
pub(crate) struct Loads {
    #[pin]
    state: SpinLock<State>,
    // One for each load under way: so there is room in `waiting` for all of them.
    #[pin]
    credits: Credits,
    pool: Arc<Pool<Read>>,
    done: AtomicU64,
    errors: AtomicU64,
}

impl Loads {
    /// Without a session.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            state <- new_spinlock!(
                State { path: None, window: 0, patience_ms: 0, waiting: Fifo::new() },
                "remoteswap_loads"
            ),
            credits <- Credits::new(LIMIT as u16),
            pool: Pool::new(LIMIT)?,
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

    /// From now on loads wait, and nobody is posting anything.
    pub(crate) fn close(&self) {
        // Let go of it after the lock.
        let _path = self.state.lock().path.take();
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
        let wish = Wish {
            asked,
            due: asked / NSEC_PER_MSEC as u64 + u64::from(timeout_ms),
            of_fault: ticket.of_fault(),
        };
        if !self.credit(timeout_ms) {
            self.errors.fetch_add(1, Ordering::Relaxed);
            return Err(ticket.fail(errno::timed_out()));
        }
        self.park(Load { ticket, wish });
        Ok(())
    }

    /// Those that wait for the pump have credits too, and give them back only when they are posted.
    fn credit(&self, timeout_ms: u32) -> bool {
        if self.credits.try_take() {
            return true;
        }
        self.pump();
        self.credits.take(timeout_ms)
    }

    /// Posts what waits, as far as it may be out: those beside each other together.
    pub(crate) fn pump(&self) {
        loop {
            let mut guard = self.state.lock();
            let state = &mut *guard;
            let Some(path) = &state.path else { return };
            let now = now_ms();
            let mut over = None;
            let mut refused = None;
            while let Some(first) = state.waiting.first() {
                let is_over = first.wish.due <= now;
                let route = path.page(Verb::Read, first.ticket.slot());
                if !is_over && route.is_some_and(|route| !self.fits(path, &route, state.window)) {
                    break;
                }
                let Some(load) = state.waiting.pop() else {
                    break;
                };
                if is_over {
                    // It has had its time. Posted it would only end this session too.
                    over = Some((load, errno::timed_out()));
                    break;
                }
                let Some(route) = route else {
                    // No place, so it never was stored in this memory.
                    over = Some((load, EIO));
                    break;
                };
                let Load { ticket, wish } = load;
                // However late it is, a session has its time for it.
                let patience = now + u64::from(state.patience_ms);
                match self
                    .pool
                    .hold(path.qp(), route, ticket, wish, wish.due.max(patience))
                {
                    Ok(()) => {}
                    Err(error) => {
                        refused = Some(error);
                        break;
                    }
                }
            }
            let posted = self.pool.commit(path.qp());
            drop(guard);
            if let Err((error, back)) = posted {
                for (ticket, wish) in back {
                    self.park(Load { ticket, wish });
                }
                session::fail(Complaint::Verbs("posting loads", error));
            }
            if let Some(Refused {
                memory: ticket,
                context: wish,
                error,
            }) = refused
            {
                self.park(Load { ticket, wish });
                // With no room a completion or the next tick goes on here.
                if error != EAGAIN && error != ENOMEM {
                    session::fail(Complaint::Verbs("preparing a load", error));
                }
                return;
            }
            match over {
                Some((load, error)) => self.end(load, Err(error)),
                None => return,
            }
        }
    }

    fn fits(&self, path: &Path, route: &Route, window: usize) -> bool {
        self.pool.has_room(path.qp(), route, window)
    }

    /// Ends the waiting loads whose time is over.
    pub(crate) fn expire(&self, now: u64) {
        self.end_waiting(|load| load.wish.due <= now, errno::timed_out());
    }

    /// Ends all waiting loads: what they are for is gone.
    pub(crate) fn abandon(&self) {
        self.end_waiting(|_| true, EIO);
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
        let parked = self.state.lock().waiting.push(load);
        if let Err(load) = parked {
            // Its credit says that there is room.
            self.end(load, Err(EIO));
        }
    }

    fn end_waiting(&self, wanted: impl Fn(&Load) -> bool, error: Error) {
        loop {
            let found = self.state.lock().waiting.take(&wanted);
            match found {
                Some(load) => self.end(load, Err(error)),
                None => return,
            }
        }
    }

    // With no lock held: the core takes its own.
    fn end(&self, load: Load, result: Result) {
        let counter = if result.is_ok() {
            &self.done
        } else {
            &self.errors
        };
        counter.fetch_add(1, Ordering::Relaxed);
        load.ticket.finish(result);
        self.credits.give();
    }
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
