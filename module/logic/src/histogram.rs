// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! How long things took: counts in buckets that grow with the time.
//!
//! Log-linear, as in HDR histograms: each power of two is divided into eight
//! buckets of equal width, so a bucket is at most an eighth as wide as where
//! it begins. Whoever takes a bucket's middle for the time of all in it is
//! wrong by 6.25 % at most. Below eight nanoseconds each has its own bucket.

use core::sync::atomic::{AtomicU64, Ordering};

/// Binary digits of a time, after the first, that choose its bucket.
const DIGITS: u32 = 3;

/// Buckets of each power of two.
const STEPS: usize = 1 << DIGITS;

/// Times of so many binary digits or more are all in the last bucket: 137 s,
/// which is longer than anything may take.
const LONGEST: u32 = 37;

/// Buckets of a histogram.
pub const BUCKETS: usize = STEPS * (LONGEST - DIGITS + 1) as usize + 1;

/// The bucket of a time.
pub fn bucket(ns: u64) -> usize {
    if ns < STEPS as u64 {
        return ns as usize;
    }
    let log = ns.ilog2();
    if log >= LONGEST {
        return BUCKETS - 1;
    }
    let shift = log - DIGITS;
    // The leading one is the first step of this power's buckets.
    shift as usize * STEPS + (ns >> shift) as usize
}

/// The shortest time in a bucket, and the shortest that is too long for it.
pub fn bounds(bucket: usize) -> (u64, u64) {
    if bucket >= BUCKETS - 1 {
        return (1 << LONGEST, u64::MAX);
    }
    if bucket < STEPS {
        return (bucket as u64, bucket as u64 + 1);
    }
    let shift = (bucket / STEPS - 1) as u32;
    let step = (bucket % STEPS + STEPS) as u64;
    (step << shift, (step + 1) << shift)
}

/// What a bucket's times are taken for: its middle, and the start of the last.
pub fn middle((from, below): (u64, u64)) -> u64 {
    if below == u64::MAX {
        return from;
    }
    from + (below - from) / 2
}

/// The time that `per_mille` of a thousand are not longer than, of buckets in
/// ascending order, each with its bounds and how often; by nearest rank. `None`
/// of nothing.
pub fn quantile<I>(buckets: I, per_mille: u64) -> Option<u64>
where
    I: Iterator<Item = ((u64, u64), u64)> + Clone,
{
    let counts = buckets.clone().map(|(_, count)| count);
    let total = counts.fold(0u64, u64::saturating_add);
    // Without a product that 64 bits do not hold.
    let part = (total % 1000).saturating_mul(per_mille).div_ceil(1000);
    let rank = (total / 1000)
        .saturating_mul(per_mille)
        .saturating_add(part);
    let rank = rank.clamp(1, total.max(1));
    let mut seen = 0u64;
    let mut last = None;
    for (bounds, count) in buckets {
        if count == 0 {
            continue;
        }
        seen = seen.saturating_add(count);
        last = Some(middle(bounds));
        if seen >= rank {
            break;
        }
    }
    last
}

/// Counts that anybody adds to at any time.
pub struct Histogram([AtomicU64; BUCKETS]);

impl Histogram {
    /// Of nothing.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Histogram {
        Histogram([const { AtomicU64::new(0) }; BUCKETS])
    }

    /// Something took so long. One atomic addition, in any context.
    pub fn record(&self, ns: u64) {
        if let Some(count) = self.0.get(bucket(ns)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All buckets, with their bounds and counts. While others record, each
    /// count is right for its own moment.
    pub fn buckets(&self) -> impl Iterator<Item = ((u64, u64), u64)> + Clone + '_ {
        let counts = self.0.iter().enumerate();
        counts.map(|(index, count)| (bounds(index), count.load(Ordering::Relaxed)))
    }
}
