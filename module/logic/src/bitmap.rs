// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! Which of a few slots are claimed.
//!
//! Takes no lock, allocates nothing. Who claims a slot sees all that was done to it before it was
//! released.

use core::sync::atomic::{AtomicU64, Ordering};

/// Most slots that there can be: one bit each.
pub const MAX_SLOTS: usize = 64;

/// Slots by their numbers, from 0.
///
/// # Invariants
///
/// A bit is set for each slot that is claimed, and for each number that is none.
pub struct Bitmap(AtomicU64);

impl Bitmap {
    /// Of `count` slots, all free; `None` for more than [`MAX_SLOTS`].
    pub const fn new(count: usize) -> Option<Bitmap> {
        // INVARIANT: No slot is claimed, and those from `count` on are none.
        match count {
            0..MAX_SLOTS => Some(Bitmap(AtomicU64::new(u64::MAX << count))),
            MAX_SLOTS => Some(Bitmap(AtomicU64::new(0))),
            _ => None,
        }
    }

    /// Claims the first that is free, if any is.
    pub fn claim(&self) -> Option<u8> {
        let mut claimed = self.0.load(Ordering::Relaxed);
        loop {
            let slot = (!claimed).trailing_zeros();
            let bit = 1u64.checked_shl(slot)?;
            match self.0.compare_exchange_weak(
                claimed,
                claimed | bit,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(slot as u8),
                Err(now) => claimed = now,
            }
        }
    }

    /// Releases a slot that the caller has claimed.
    pub fn release(&self, slot: u8) {
        if let Some(bit) = 1u64.checked_shl(slot.into()) {
            self.0.fetch_and(!bit, Ordering::Release);
        }
    }

    /// Whether none is free.
    pub fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed) == u64::MAX
    }
}
