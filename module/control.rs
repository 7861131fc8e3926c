// SPDX-License-Identifier: GPL-2.0-only

//! The module's own READs and WRITEs: chunk table, sign of life, self-test, farewell.
//!
//! They share the load queue pair. Lock: `Answer::result`, an innermost spinlock. [`ask`] sleeps
//! and allocates; completions do neither.

use crate::clock::now_ms;
use crate::complaint::Complaint;
use crate::driver;
use crate::latency;
use crate::logic::wire::TableHeader;
use crate::session;
use crate::verbs::operation::{Operation, Outcome, Times};
use crate::verbs::pool::{Pool, Refused, Route};
use crate::verbs::qp::Qp;
use crate::verbs::scratch::Scratch;
use crate::verbs::wait::Completion;
use kernel::prelude::*;
use kernel::sync::{new_spinlock, Arc, SpinLock};

/// Of these operations, how many may be out at a time: one of the session's worker, one sign of
/// life, one of the self-test.
pub(crate) const DEPTH: usize = 3;

/// Those of them that are READs while loads are out too.
pub(crate) const READS: usize = 2;

/// An operation of the module's own, on a page of the module's own.
pub(crate) struct Control;

/// Who wants to know how it ended.
pub(crate) enum Sink {
    /// Somebody who waits for it.
    Answer(Arc<Answer>),
    /// The heartbeat, which READ the table's header and expects this.
    Heartbeat(TableHeader),
}

impl Operation for Control {
    type Memory = Scratch;
    type Context = Sink;

    fn completed(scratch: Scratch, sink: Sink, outcome: Outcome, times: Option<Times>) {
        if let Some(times) = times {
            latency::CONTROL.record(times.ended.saturating_sub(times.posted));
        }
        match sink {
            Sink::Answer(answer) => answer.deliver(scratch, outcome),
            Sink::Heartbeat(expected) => {
                if let Some(driver) = driver::get() {
                    driver.session.heartbeat.heard(scratch, &expected, outcome);
                }
            }
        }
    }
}

/// Where the end of an operation is waited for. Kept by both sides: an operation outlives a waiter
/// who has lost patience.
#[pin_data]
pub(crate) struct Answer {
    #[pin]
    arrived: Completion,
    #[pin]
    result: SpinLock<Option<(Scratch, Outcome)>>,
}

impl Answer {
    /// Not there yet.
    pub(crate) fn new() -> Result<Arc<Answer>> {
        Arc::pin_init(
            pin_init!(Self {
                arrived <- Completion::new(),
                result <- new_spinlock!(None, "remoteswap_answer"),
            }),
            GFP_KERNEL,
        )
    }

    /// Waits for it; `None` when it is not there in time.
    pub(crate) fn wait(&self, timeout_ms: u32) -> Option<(Scratch, Outcome)> {
        self.arrived.wait(timeout_ms);
        self.result.lock().take()
    }

    fn deliver(&self, scratch: Scratch, outcome: Outcome) {
        *self.result.lock() = Some((scratch, outcome));
        self.arrived.complete();
    }
}

/// Posts one operation. The session ends with what an adapter does not take, and so does the
/// operation.
pub(crate) fn post(
    pool: &Arc<Pool<Control>>,
    qp: &Qp,
    route: Route,
    scratch: Scratch,
    sink: Sink,
    due: u64,
) -> Result<(), Refused<Control>> {
    pool.hold(qp, route, scratch, sink, due)?;
    if let Err(error) = pool.commit(qp) {
        session::fail(Complaint::Verbs("posting a READ", error));
    }
    Ok(())
}

/// Does one operation for the session's worker, and waits for it.
pub(crate) fn ask(
    pool: &Arc<Pool<Control>>,
    qp: &Qp,
    route: Route,
    scratch: Scratch,
    what: &'static str,
    timeout_ms: u32,
) -> Result<Scratch, Complaint> {
    let answer = Answer::new().map_err(|error| Complaint::Verbs(what, error))?;
    let due = now_ms() + u64::from(timeout_ms);
    pool.hold(qp, route, scratch, Sink::Answer(answer.clone()), due)
        .map_err(|Refused { error, .. }| Complaint::Verbs(what, error))?;
    pool.commit(qp)
        .map_err(|error| Complaint::Verbs(what, error))?;
    match answer.wait(timeout_ms) {
        Some((scratch, outcome)) if outcome.is_ok() => Ok(scratch),
        Some((_, outcome)) => Err(Complaint::Failed(what, outcome)),
        None => Err(Complaint::Overdue(what)),
    }
}
