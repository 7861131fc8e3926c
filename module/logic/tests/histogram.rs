//! A time is found again in its bucket, and percentiles are as near as said.

use proptest::prelude::*;
use remoteswap_logic::histogram::{BUCKETS, Histogram, bounds, bucket, middle, quantile};

/// Times of every size alike.
fn times() -> impl Strategy<Value = u64> {
    (0..64u32, any::<u64>()).prop_map(|(shift, bits)| bits >> shift)
}

/// Times that have a bucket of their own size.
fn usual() -> impl Strategy<Value = u64> {
    times().prop_map(|ns| ns & ((1 << 37) - 1))
}

/// The time at the nearest rank.
fn exact(times: &[u64], per_mille: usize) -> u64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[(times.len() * per_mille).div_ceil(1000).max(1) - 1]
}

proptest! {
    #[test]
    fn a_time_is_within_its_buckets_bounds(ns in times()) {
        let index = bucket(ns);
        prop_assert!(index < BUCKETS);
        let (from, below) = bounds(index);
        prop_assert!(from <= ns && (ns < below || below == u64::MAX), "{ns}: {from} to {below}");
    }

    #[test]
    fn a_percentile_is_wrong_by_a_sixteenth_at_most(
        times in proptest::collection::vec(usual(), 1..300),
        per_mille in 0usize..=1000,
    ) {
        let histogram = Histogram::new();
        times.iter().for_each(|ns| histogram.record(*ns));
        let right = exact(&times, per_mille);
        let read = quantile(histogram.buckets(), per_mille as u64).expect("not empty");
        prop_assert!(read.abs_diff(right) <= right / 16, "{read} for {right}");
    }

    #[test]
    fn nothing_gets_lost(times in proptest::collection::vec(times(), 0..300)) {
        let histogram = Histogram::new();
        times.iter().for_each(|ns| histogram.record(*ns));
        let total: u64 = histogram.buckets().map(|(_, count)| count).sum();
        prop_assert_eq!(total, times.len() as u64);
    }
}

#[test]
fn buckets_follow_each_other_without_a_gap() {
    let mut next = 0;
    for index in 0..BUCKETS {
        let (from, below) = bounds(index);
        assert_eq!(from, next, "bucket {index}");
        assert_eq!((bucket(from), bucket(below - 1)), (index, index));
        // Half a width is what a percentile can be wrong by.
        assert!(index == BUCKETS - 1 || from < 8 || (below - from) * 8 <= from);
        next = below;
    }
    assert_eq!(next, u64::MAX);
}

#[test]
fn quantiles_of_known_counts() {
    let of = |counts: &[(u64, u64)], per_mille| {
        let buckets = counts
            .iter()
            .map(|(ns, count)| (bounds(bucket(*ns)), *count));
        quantile(buckets, per_mille)
    };
    assert_eq!(of(&[], 500), None);
    assert_eq!(of(&[(5, 0)], 500), None);
    let counts = [(1, 50), (2, 49), (3, 0), (1 << 40, 1)];
    assert_eq!(of(&counts, 500), Some(1));
    assert_eq!(of(&counts, 501), Some(2));
    assert_eq!(of(&counts, 990), Some(2));
    assert_eq!(of(&counts, 991), Some(1 << 37));
    assert_eq!(of(&[(1, u64::MAX), (2, u64::MAX)], 1000), Some(1));
    assert_eq!(middle((96, 104)), 100);
}

#[test]
fn many_record_at_once() {
    static SHARED: Histogram = Histogram::new();
    std::thread::scope(|scope| {
        for ns in [100, 1 << 20] {
            scope.spawn(move || (0..10_000).for_each(|_| SHARED.record(ns)));
        }
    });
    let counts: Vec<u64> = SHARED.buckets().map(|(_, count)| count).collect();
    assert_eq!(
        (counts[bucket(100)], counts[bucket(1 << 20)]),
        (10_000, 10_000)
    );
}
