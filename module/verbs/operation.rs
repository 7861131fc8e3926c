// SPDX-License-Identifier: GPL-2.0-only

//! An operation as those who order it know it: what it moves, how it ended and when.
//!
//! Takes no locks and allocates nothing.

use super::bindings;
use core::ptr::NonNull;

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

    /// The adapter has done with it. Called by the completion queue's work, or by who ends a session;
    /// may sleep. `times` are there if the bytes arrived.
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
pub(crate) struct Outcome(pub(super) bindings::ib_wc_status);

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
