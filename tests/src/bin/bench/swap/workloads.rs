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
}

impl Workload {
    /// Those that are run unless more is asked for.
    pub const DEFAULT: [Workload; 4] = [
        Workload::Sequential,
        Workload::Random,
        Workload::Quicksort,
        Workload::Pagerank,
    ];

    /// The arguments of `bench-job`, without the size.
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Workload::Sequential => &["touch"],
            Workload::Random => &["touch", "--random"],
            Workload::Quicksort => &["sort"],
            Workload::Pagerank => &["pagerank"],
            Workload::Kmeans => &["kmeans"],
            Workload::Compress => &["compress"],
            Workload::Sequential4 => &["touch", "--threads", "4"],
            Workload::Random4 => &["touch", "--random", "--threads", "4"],
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
        }
    }
}
