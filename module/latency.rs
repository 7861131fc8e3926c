// SPDX-License-Identifier: GPL-2.0-only

//! How long each stage of a page's way takes, since the module was loaded.
//!
//! Takes no lock, allocates nothing: to record is one atomic addition. What failed is not in it.

use crate::logic::histogram::{quantile, Histogram};
use core::fmt::{self, Write};

/// READ of the page that a fault waits for, from its posting to its completion.
pub(crate) static LOAD_FAULT: Histogram = Histogram::new();
/// READ of a page into the swap cache likewise: read ahead, shared, of tmpfs, or for swapoff.
pub(crate) static LOAD_CACHE: Histogram = Histogram::new();
/// From the core's call for a page to the posting of its READ: the wait for a turn or a session.
pub(crate) static LOAD_WAIT: Histogram = Histogram::new();
/// From the first store that is taken for a list to the posting of that list.
pub(crate) static STORE_GATHER: Histogram = Histogram::new();
/// WRITEs of a list, from their posting to the completion of the last.
pub(crate) static STORE_BATCH: Histogram = Histogram::new();
/// How long reclaim was held up, each time it was: all requests were taken.
pub(crate) static STORE_WAIT: Histogram = Histogram::new();
/// READ or WRITE of the module's own, from its posting to its completion: signs of life mostly.
pub(crate) static CONTROL: Histogram = Histogram::new();

static STAGES: [(&str, &Histogram); 7] = [
    ("load_fault", &LOAD_FAULT),
    ("load_cache", &LOAD_CACHE),
    ("load_wait", &LOAD_WAIT),
    ("store_gather", &STORE_GATHER),
    ("store_batch", &STORE_BATCH),
    ("store_wait", &STORE_WAIT),
    ("control", &CONTROL),
];

/// Writes a line for each stage: how many there were and their percentiles in nanoseconds.
pub(crate) fn summary(out: &mut dyn Write) -> fmt::Result {
    writeln!(
        out,
        "{:<12} {:>10} {:>12} {:>12} {:>12} {:>12}",
        "stage", "count", "p50_ns", "p90_ns", "p99_ns", "max_ns"
    )?;
    for (name, histogram) in STAGES {
        let count: u64 = histogram.buckets().map(|(_, count)| count).sum();
        write!(out, "{name:<12} {count:>10}")?;
        for per_mille in [500, 900, 990, 1000] {
            match quantile(histogram.buckets(), per_mille) {
                Some(ns) => write!(out, " {ns:>12}")?,
                None => write!(out, " {:>12}", "-")?,
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Writes a line for each bucket that has something: stage, shortest time, the shortest that is
/// too long, both in nanoseconds, and how often.
pub(crate) fn histograms(out: &mut dyn Write) -> fmt::Result {
    for (name, histogram) in STAGES {
        for ((from, below), count) in histogram.buckets().filter(|(_, count)| *count > 0) {
            writeln!(out, "{name} {from} {below} {count}")?;
        }
    }
    Ok(())
}
