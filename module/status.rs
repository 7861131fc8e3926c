// SPDX-License-Identifier: GPL-2.0-only

//! What the module shows of itself in debugfs.
//!
//! Lock: `Selftest::latencies`, a mutex, outermost. The self-test sleeps and allocates; the
//! numbers of the status are read without a lock, one by one.

use crate::clock::{now_ms, now_ns};
use crate::control::{self, Answer, Sink};
use crate::driver::{self, Driver};
use crate::errno;
use crate::latency;
use crate::verbs::debugfs::Files;
use crate::verbs::pool::Verb;
use crate::verbs::scratch::Scratch;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, AtomicU8, Ordering};
use kernel::prelude::*;
use kernel::sync::{new_mutex, Mutex};

const STATES: [&str; 3] = ["connecting", "up", "down"];

/// What is known of the session.
pub(crate) struct Shown {
    // Index into `STATES`.
    state: AtomicU8,
    epoch: AtomicU64,
    capacity: AtomicU64,
    sessions: AtomicU64,
}

impl Shown {
    /// Nothing.
    pub(crate) fn new() -> Shown {
        Shown {
            state: AtomicU8::new(0),
            epoch: AtomicU64::new(0),
            capacity: AtomicU64::new(0),
            sessions: AtomicU64::new(0),
        }
    }

    /// The session's state has this name.
    pub(crate) fn set_state(&self, name: &str) {
        if let Some(index) = STATES.iter().position(|state| *state == name) {
            self.state.store(index as u8, Ordering::Relaxed);
        }
    }

    /// A session is up.
    pub(crate) fn set_session(&self, epoch: u64, pages: u64) {
        self.epoch.store(epoch, Ordering::Relaxed);
        self.capacity.store(pages, Ordering::Relaxed);
        self.sessions.fetch_add(1, Ordering::Relaxed);
    }

    /// Pages that the present or last session has room for.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    fn state(&self) -> &'static str {
        let index = usize::from(self.state.load(Ordering::Relaxed));
        STATES.get(index).copied().unwrap_or("down")
    }
}

/// Most READs of one self-test.
const MAX_READS: u32 = 10_000;

/// READs of the module's own, to compare with what a fault takes.
#[pin_data]
pub(crate) struct Selftest {
    // Of the last run, in nanoseconds.
    #[pin]
    latencies: Mutex<KVVec<u64>>,
}

impl Selftest {
    /// Not run yet.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self { latencies <- new_mutex!(KVVec::new(), "remoteswap_selftest") })
    }

    /// READs slots one after the other, over the queue pair and with the waiting that a load has.
    fn run(&self, driver: &Driver, reads: u32) -> Result {
        if !(1..=MAX_READS).contains(&reads) {
            pr_err!("selftest: give a number of READs from 1 to {MAX_READS}\n");
            return Err(EINVAL);
        }
        let mut latencies = self.latencies.lock();
        let mut taken = KVVec::with_capacity(reads as usize, GFP_KERNEL)?;
        let answer = Answer::new()?;
        let mut scratch = Scratch::new()?;
        let timeout_ms = driver.config.store_timeout_ms;
        for index in 0..u64::from(reads) {
            let due = now_ms() + u64::from(timeout_ms);
            let sink = Sink::Answer(answer.clone());
            let start = now_ns();
            let posted = driver.loads.with_path(|path| {
                let slot = index % path.map().pages();
                let route = path.page(Verb::Read, slot).ok_or(EIO)?;
                let pool = &driver.session.control;
                control::post(pool, path.qp(), route, scratch, sink, due)
                    .map_err(|refused| refused.error)
            });
            posted.ok_or_else(errno::not_connected)??;
            let (back, outcome) = answer.wait(timeout_ms).ok_or_else(errno::timed_out)?;
            let end = now_ns();
            if !outcome.is_ok() {
                return Err(EIO);
            }
            scratch = back;
            taken.push(end.saturating_sub(start), GFP_KERNEL)?;
            if kernel::current!().signal_pending() {
                return Err(EINTR);
            }
        }
        *latencies = taken;
        Ok(())
    }
}

/// The files' contents.
pub(crate) struct Contents;

impl Files for Contents {
    fn status(out: &mut dyn Write) -> fmt::Result {
        let Some(driver) = driver::get() else {
            return Ok(());
        };
        let shown = &driver.session.shown;
        let (stores, store_errors) = driver.stores.counts();
        let (loads, load_errors, parked) = driver.loads.counts();
        writeln!(out, "state {}", shown.state())?;
        writeln!(out, "epoch {:016x}", shown.epoch.load(Ordering::Relaxed))?;
        writeln!(out, "capacity_pages {}", shown.capacity())?;
        writeln!(out, "stores {stores}")?;
        writeln!(out, "store_errors {store_errors}")?;
        let signals = driver.stores.signals();
        writeln!(out, "store_doorbells {}", signals.doorbells)?;
        writeln!(out, "store_requests {}", signals.requests)?;
        writeln!(out, "store_completions {}", signals.completions)?;
        writeln!(out, "loads {loads}")?;
        writeln!(out, "load_errors {load_errors}")?;
        let signals = driver.loads.signals();
        writeln!(out, "load_requests {}", signals.requests)?;
        writeln!(out, "loads_parked {parked}")?;
        writeln!(out, "sessions {}", shown.sessions.load(Ordering::Relaxed))
    }

    fn latency(out: &mut dyn Write) -> fmt::Result {
        latency::summary(out)
    }

    fn histograms(out: &mut dyn Write) -> fmt::Result {
        latency::histograms(out)
    }

    fn selftest(reads: u32) -> Result {
        let driver = driver::get().ok_or(ENODEV)?;
        driver.selftest.run(driver, reads)
    }

    fn results(out: &mut dyn Write) -> fmt::Result {
        let Some(driver) = driver::get() else {
            return Ok(());
        };
        for latency in driver.selftest.latencies.lock().iter() {
            writeln!(out, "{latency}")?;
        }
        Ok(())
    }
}
