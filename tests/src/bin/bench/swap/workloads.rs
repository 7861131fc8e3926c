//! What is run: jobs of `bench-job`, which check what they did.

use clap::ValueEnum;
use serde::Serialize;

/// A job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// Every page checked and written again, in order.
    Sequential,
    /// Likewise, in a shuffled order.
    Random,
    /// Numbers sorted in place.
    Quicksort,
    /// Nodes of a generated graph ranked.
    Pagerank,
    /// Clusters of generated points found.
    Kmeans,
    /// Generated text compressed and decompressed.
    Compress,
    /// Sequential, by four threads.
    Sequential4,
    /// Random, by four threads.
    Random4,
    /// A redis server asked for values at a fixed rate.
    Redis,
    /// A memcached server likewise.
    Memcached,
}

impl Workload {
    /// Those that are run unless more is asked for.
    pub const DEFAULT: [Workload; 4] = [
        Workload::Sequential,
        Workload::Random,
        Workload::Quicksort,
        Workload::Pagerank,
    ];

    /// Whether it makes requests at a fixed rate: what counts is how long they
    /// take, not how long all of it does.
    pub fn has_a_rate(self) -> bool {
        matches!(self, Workload::Redis | Workload::Memcached)
    }

    /// The arguments of `bench-job`, to use `mib` MiB and make `rate` requests
    /// a second.
    pub fn arguments(self, mib: u64, rate: u32) -> Vec<String> {
        let words = self.words().iter().map(|&word| word.to_owned());
        let mut words: Vec<String> = words.collect();
        words.extend(["--mib".to_owned(), mib.to_string()]);
        if self.has_a_rate() {
            words.extend(["--rate".to_owned(), rate.to_string()]);
        }
        words
    }

    fn words(self) -> &'static [&'static str] {
        match self {
            Workload::Sequential => &["touch"],
            Workload::Random => &["touch", "--random"],
            Workload::Quicksort => &["sort"],
            Workload::Pagerank => &["pagerank"],
            Workload::Kmeans => &["kmeans"],
            Workload::Compress => &["compress"],
            Workload::Sequential4 => &["touch", "--threads", "4"],
            Workload::Random4 => &["touch", "--random", "--threads", "4"],
            Workload::Redis => &["redis"],
            Workload::Memcached => &["memcached"],
        }
    }

    /// What it is called in reports.
    pub fn title(self) -> &'static str {
        match self {
            Workload::Sequential => "sequential touch",
            Workload::Random => "random touch",
            Workload::Quicksort => "quicksort",
            Workload::Pagerank => "PageRank",
            Workload::Kmeans => "k-means",
            Workload::Compress => "compress",
            Workload::Sequential4 => "sequential, 4 threads",
            Workload::Random4 => "random, 4 threads",
            Workload::Redis => "redis",
            Workload::Memcached => "memcached",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_have_a_rate() {
        let line = |workload: Workload| workload.arguments(24, 100).join(" ");
        assert_eq!(line(Workload::Random), "touch --random --mib 24");
        assert_eq!(line(Workload::Redis), "redis --mib 24 --rate 100");
    }
}
