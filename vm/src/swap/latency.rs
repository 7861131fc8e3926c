//! How long the stages of a page's way took, as the kernel and the module count
//! them.

use std::collections::BTreeMap;

use remoteswap_logic::histogram::quantile;
use serde::Serialize;

/// Faults on pages that were remote, each from its beginning to its end.
pub const FAULT: &str = "fault";

/// Lists of WRITEs.
pub const STORE_BATCH: &str = "store_batch";

/// A bucket's shortest time, and the shortest that is too long for it, in
/// nanoseconds.
type Bounds = (u64, u64);

/// Histograms by the names of their stages, since the module was loaded or
/// between two moments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies(BTreeMap<String, BTreeMap<Bounds, u64>>);

/// One stage's times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// How many there were.
    pub count: u64,
    /// Half of them took no longer, in nanoseconds; `None` of nothing.
    pub p50_ns: Option<u64>,
    /// 99 of 100 took no longer.
    pub p99_ns: Option<u64>,
}

impl Latencies {
    /// From the text of the module's `histograms` or of the kernel's `latency`; lines of another form are
    /// passed over.
    pub fn parse(text: &str) -> Latencies {
        let mut stages: BTreeMap<String, BTreeMap<Bounds, u64>> = BTreeMap::new();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let stage = words.next();
            let mut number = || words.next()?.parse::<u64>().ok();
            if let (Some(stage), Some(from), Some(below), Some(count)) =
                (stage, number(), number(), number())
            {
                let buckets = stages.entry(stage.to_owned()).or_default();
                buckets.insert((from, below), count);
            }
        }
        Latencies(stages)
    }

    /// What was counted since an earlier moment. A module that was loaded
    /// meanwhile began at nothing.
    pub fn since(&self, earlier: &Latencies) -> Latencies {
        let mut stages = self.0.clone();
        for (stage, buckets) in &mut stages {
            let Some(before) = earlier.0.get(stage) else {
                continue;
            };
            for (bounds, count) in buckets {
                *count = count.saturating_sub(before.get(bounds).copied().unwrap_or(0));
            }
        }
        Latencies(stages)
    }

    /// A stage's times; those of nothing if it has none.
    pub fn spread(&self, stage: &str) -> Spread {
        let Some(buckets) = self.0.get(stage) else {
            return Spread::default();
        };
        let buckets = buckets.iter().map(|(bounds, count)| (*bounds, *count));
        Spread {
            count: buckets.clone().map(|(_, count)| count).sum(),
            p50_ns: quantile(buckets.clone(), 500),
            p99_ns: quantile(buckets, 990),
        }
    }

    /// All stages that there are.
    pub fn spreads(&self) -> BTreeMap<String, Spread> {
        let stages = self.0.keys();
        stages
            .map(|stage| (stage.clone(), self.spread(stage)))
            .collect()
    }
}

/// A time of nanoseconds as people read it; a dash for none.
pub fn time(ns: Option<u64>) -> String {
    let Some(ns) = ns else {
        return "-".to_owned();
    };
    let ns = ns as f64;
    let (value, unit) = match ns {
        ns if ns < 1e3 => return format!("{ns} ns"),
        ns if ns < 1e6 => (ns / 1e3, "us"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    let digits = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLIER: &str = "fault 96 104 1\nfault 104 112 5\nnonsense\n";
    const LATER: &str = "fault 96 104 100\nfault 104 112 6\ncontrol 8 9 1\n";

    #[test]
    fn a_difference_has_its_own_percentiles() {
        let later = Latencies::parse(LATER);
        let between = later.since(&Latencies::parse(EARLIER));
        let expected = Spread {
            count: 100,
            p50_ns: Some(100),
            p99_ns: Some(100),
        };
        assert_eq!(between.spread(FAULT), expected);
        assert_eq!(later.spread(FAULT).p99_ns, Some(108));
        assert_eq!(between.spread("control").count, 1);
        assert_eq!(between.spread(STORE_BATCH), Spread::default());
        assert_eq!(between.spreads().len(), 2);
    }

    #[test]
    fn what_did_not_happen_has_no_percentile() {
        let later = Latencies::parse(LATER);
        let none = later.since(&later);
        assert_eq!(none.spread(FAULT), Spread::default());
    }

    #[test]
    fn times_have_three_digits() {
        for (ns, text) in [
            (Some(0), "0 ns"),
            (Some(999), "999 ns"),
            (Some(1_310_720), "1.31 ms"),
            (Some(14_848), "14.8 us"),
            (Some(9_999_000), "10.0 ms"),
            (Some(243_269_632), "243 ms"),
            (Some(3_000_000_000), "3.00 s"),
            (None, "-"),
        ] {
            assert_eq!(time(ns), text);
        }
    }
}
