// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! Credits: so many operations may be under way.
//!
//! Who begins one takes a credit, which goes where the operation goes, and is given back where it
//! ends, however it does.

/// The right to have an operation under way.
///
/// Can be had from a [`Semaphore`] only, and not be copied: so it cannot be given back twice. One
/// that is dropped is lost.
#[derive(Debug)]
#[must_use]
pub struct Credit(());

/// A semaphore that counts credits.
pub trait Semaphore {
    /// Counts one down, if there is one.
    fn try_down(&self) -> bool;

    /// Counts one down, waiting for it; false when the time was over first.
    fn down_timeout(&self, timeout_ms: u32) -> bool;

    /// Counts one up.
    fn up(&self);

    /// Takes a credit, if there is one.
    fn try_take(&self) -> Option<Credit> {
        self.try_down().then_some(Credit(()))
    }

    /// Takes a credit. Where there is none, lets go first, by `post`, of the operations that are
    /// held back: they have credits too, which come back only when they were posted. Then waits;
    /// `None` when the time was over first.
    fn take(&self, timeout_ms: u32, post: impl FnOnce()) -> Option<Credit> {
        let taken = self.try_down() || {
            post();
            self.down_timeout(timeout_ms)
        };
        taken.then_some(Credit(()))
    }

    /// Gives one back.
    fn give(&self, credit: Credit) {
        let Credit(()) = credit;
        self.up();
    }
}

/// Credits for operations that somebody waits for, and for others: some are for
/// the former alone, so that the latter cannot use up all.
pub struct Shares<'a, S> {
    /// For anybody.
    pub common: &'a S,
    /// For what is on demand only.
    pub reserved: &'a S,
}

/// A credit of [`Shares`], which goes back to where it is from.
#[derive(Debug)]
#[must_use]
pub struct Shared {
    credit: Credit,
    is_reserved: bool,
}

impl<S: Semaphore> Shares<'_, S> {
    /// Takes a credit as [`Semaphore::take`] does; of the reserved ones, if there is one, where
    /// somebody is in demand of the operation.
    pub fn take(&self, demand: bool, timeout_ms: u32, post: impl FnOnce()) -> Option<Shared> {
        let reserved = if demand {
            self.reserved.try_take()
        } else {
            None
        };
        let is_reserved = reserved.is_some();
        let credit = reserved.or_else(|| self.common.take(timeout_ms, post))?;
        Some(Shared {
            credit,
            is_reserved,
        })
    }

    /// Gives one back.
    pub fn give(&self, shared: Shared) {
        if shared.is_reserved {
            self.reserved.give(shared.credit);
        } else {
            self.common.give(shared.credit);
        }
    }
}
