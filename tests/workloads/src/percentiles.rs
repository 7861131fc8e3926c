//! Percentiles of measured times.

use serde::{Deserialize, Serialize};

/// A distribution of times in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentiles {
    /// How many times were measured.
    pub count: usize,
    /// The shortest.
    pub min: u64,
    /// The median.
    pub p50: u64,
    /// Nine of ten are not longer than this.
    pub p90: u64,
    /// 99 of 100 are not longer than this.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

impl Percentiles {
    /// Percentiles by nearest rank; `None` of nothing.
    pub fn of(mut times: Vec<u64>) -> Option<Percentiles> {
        times.sort_unstable();
        let (&min, &max) = (times.first()?, times.last()?);
        let rank = |percent: usize| times[(times.len() * percent).div_ceil(100).max(1) - 1];
        Some(Percentiles {
            count: times.len(),
            min,
            p50: rank(50),
            p90: rank(90),
            p99: rank(99),
            max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nearest_rank_of_a_known_list() {
        let p = Percentiles::of((1..=100).rev().collect()).expect("not empty");
        assert_eq!(
            (p.min, p.p50, p.p90, p.p99, p.max, p.count),
            (1, 50, 90, 99, 100, 100)
        );
        assert_eq!(Percentiles::of(vec![7]).map(|p| p.p50), Some(7));
        assert_eq!(Percentiles::of(Vec::new()), None);
    }

    proptest! {
        #[test]
        fn percentiles_are_ordered(times in proptest::collection::vec(any::<u64>(), 1..200)) {
            let p = Percentiles::of(times).expect("not empty");
            prop_assert!(p.min <= p.p50 && p.p50 <= p.p90 && p.p90 <= p.p99 && p.p99 <= p.max);
        }
    }
}
