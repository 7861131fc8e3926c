// SPDX-License-Identifier: GPL-2.0-only

//! Signs of life: whether the server still answers, and is still the one we mean.
//!
//! With endless retries an adapter never says that nobody is there, so the module asks: a READ of
//! the chunk table's header over the load queue pair, where a stuck load stands before it.
//!
//! Lock: `Heartbeat::state`, an innermost spinlock. Nothing sleeps or allocates but
//! [`Heartbeat::new`].

use crate::complaint::Complaint;
use crate::control::{self, Control, Sink};
use crate::load::Loads;
use crate::logic::wire::TableHeader;
use crate::map::read_header;
use crate::session;
use crate::verbs::operation::Outcome;
use crate::verbs::pool::Pool;
use crate::verbs::scratch::Scratch;
use kernel::prelude::*;
use kernel::sync::{new_spinlock, Arc, SpinLock};

struct State {
    // `None` while it is out.
    scratch: Option<Scratch>,
    next: u64,
}

/// The sign of life that is asked for now and then.
#[pin_data]
pub(crate) struct Heartbeat {
    #[pin]
    state: SpinLock<State>,
}

impl Heartbeat {
    /// Not asked for yet.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            state <- new_spinlock!(
                State { scratch: Some(Scratch::new()?), next: 0 },
                "remoteswap_heartbeat"
            ),
        })
    }

    /// Asks, if it is time, there is a session, and the last answer has come.
    pub(crate) fn beat(
        &self,
        loads: &Loads,
        pool: &Arc<Pool<Control>>,
        now: u64,
        every_ms: u32,
        timeout_ms: u32,
    ) {
        let Some(scratch) = self.take(now, every_ms) else {
            return;
        };
        // Out of it comes a scratch again if it was not posted.
        let mut scratch = Some(scratch);
        loads.with_path(|path| {
            let sink = Sink::Heartbeat(*path.map().header());
            let due = now + u64::from(timeout_ms);
            scratch = scratch.take().and_then(|scratch| {
                control::post(
                    pool,
                    path.qp(),
                    path.map().header_route(),
                    scratch,
                    sink,
                    due,
                )
                .err()
                .map(|refused| refused.memory)
            });
        });
        if let Some(scratch) = scratch {
            self.state.lock().scratch = Some(scratch);
        }
    }

    /// The answer, or that there is none.
    pub(crate) fn heard(&self, scratch: Scratch, expected: &TableHeader, outcome: Outcome) {
        let verdict = if outcome.is_ok() {
            read_header(&scratch).and_then(|header| {
                if header == *expected {
                    Ok(())
                } else {
                    Err(Complaint::WrongTable)
                }
            })
        } else {
            Err(Complaint::Failed("sign of life", outcome))
        };
        self.state.lock().scratch = Some(scratch);
        if let Err(complaint) = verdict {
            session::fail(complaint);
        }
    }

    fn take(&self, now: u64, every_ms: u32) -> Option<Scratch> {
        let mut state = self.state.lock();
        if now < state.next {
            return None;
        }
        let scratch = state.scratch.take()?;
        state.next = now + u64::from(every_ms);
        Some(scratch)
    }
}
