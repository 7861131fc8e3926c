//! What was found: every run, and what the rounds of each come to.

use std::collections::BTreeMap;

use rapidswap_tests::spread::Spread;
use serde::Serialize;

use super::backends::Row;
use super::run::{Latency, Took};
use super::workloads::Workload;

/// One run, beside the one of the same round that had all the memory it wanted.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// What was swapped to.
    pub backend: Row,
    /// The job.
    pub workload: Workload,
    /// Local memory in percent of what the job uses.
    pub local_percent: u64,
    /// The round, from 0.
    pub round: u32,
    /// Completion time.
    pub seconds: f64,
    /// The same without a limit.
    pub local_seconds: f64,
    /// Processor time of both guests, as the host counts it.
    pub vcpu_seconds: Option<f64>,
    /// The same without a limit.
    pub local_vcpu_seconds: Option<f64>,
    /// Pages that left the client's memory.
    pub pages_out: u64,
    /// Pages that came back.
    pub pages_in: u64,
    /// Faults that waited for one.
    pub major_faults: u64,
    /// What the job's threads spent in reclaim.
    pub reclaim_seconds: Option<f64>,
    /// What the kernel's workers spent in it meanwhile.
    pub worker_reclaim_seconds: Option<f64>,
    /// How long its requests took.
    pub latency: Option<Latency>,
    /// The same without a limit.
    pub local_latency: Option<Latency>,
}

impl Run {
    /// Of a run and its counterpart.
    pub fn new(
        (backend, workload, local_percent, round): (Row, Workload, u64, u32),
        took: &Took,
        local: &Took,
    ) -> Run {
        Run {
            backend,
            workload,
            local_percent,
            round,
            seconds: took.seconds,
            local_seconds: local.seconds,
            vcpu_seconds: took.vcpu_seconds,
            local_vcpu_seconds: local.vcpu_seconds,
            pages_out: took.pages_out,
            pages_in: took.pages_in,
            major_faults: took.major_faults,
            reclaim_seconds: took.reclaim_seconds,
            worker_reclaim_seconds: took.worker_reclaim_seconds,
            latency: took.latency,
            local_latency: local.latency,
        }
    }

    /// What swapping cost: T − T_local.
    pub fn cost_seconds(&self) -> f64 {
        self.seconds - self.local_seconds
    }

    /// What of the cost was not reclaim: faults, less the reclaim in them.
    pub fn fault_seconds(&self) -> Option<f64> {
        Some(self.cost_seconds() - self.reclaim_seconds?)
    }

    /// Processor time that swapping cost for each page moved, in microseconds.
    pub fn vcpu_us_per_page(&self) -> Option<f64> {
        let pages = self.pages_out + self.pages_in;
        let spent = self.vcpu_seconds? - self.local_vcpu_seconds?;
        (pages > 0).then(|| spent * 1e6 / pages as f64)
    }
}

/// The rounds of one workload on one backend.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// What was swapped to.
    pub backend: Row,
    /// The job.
    pub workload: Workload,
    /// Local memory in percent of what the job uses.
    pub local_percent: u64,
    /// Completion time.
    pub seconds: Spread,
    /// The same without a limit.
    pub local_seconds: Spread,
    /// What swapping cost, T − T_local.
    pub cost_seconds: Spread,
    /// Of that, what the job's threads spent in reclaim.
    pub reclaim_seconds: Option<Spread>,
    /// And the rest: faults, less the reclaim in them. With several threads,
    /// whose reclaim is at the same time, it may be less than nothing.
    pub fault_seconds: Option<Spread>,
    /// What the kernel's workers reclaimed meanwhile, no part of the cost.
    pub worker_reclaim_seconds: Option<Spread>,
    /// Processor time that swapping cost for each page moved.
    pub vcpu_us_per_page: Option<Spread>,
    /// Medians of how long requests took.
    pub latency_p50_us: Option<Spread>,
    /// 99th percentiles of that.
    pub latency_p99_us: Option<Spread>,
    /// The same without a limit.
    pub local_latency_p99_us: Option<Spread>,
    /// Pages that left the client's memory.
    pub pages_out: Spread,
    /// Pages that came back.
    pub pages_in: Spread,
    /// Faults that waited for one.
    pub major_faults: Spread,
}

/// Runs by what they have in common, in the order of reports.
pub fn summaries(runs: &[Run]) -> Vec<Summary> {
    let mut groups: BTreeMap<_, Vec<&Run>> = BTreeMap::new();
    for run in runs {
        let key = (run.local_percent, run.workload, run.backend);
        groups.entry(key).or_default().push(run);
    }
    groups.values().filter_map(|runs| summary(runs)).collect()
}

fn summary(runs: &[&Run]) -> Option<Summary> {
    let of = |value: fn(&Run) -> f64| {
        let values: Vec<f64> = runs.iter().map(|run| value(run)).collect();
        Spread::of(&values)
    };
    let known = |value: fn(&Run) -> Option<f64>| {
        let values: Option<Vec<f64>> = runs.iter().map(|run| value(run)).collect();
        values.and_then(|values| Spread::of(&values))
    };
    let first = runs.first()?;
    Some(Summary {
        backend: first.backend,
        workload: first.workload,
        local_percent: first.local_percent,
        seconds: of(|run| run.seconds)?,
        local_seconds: of(|run| run.local_seconds)?,
        cost_seconds: of(Run::cost_seconds)?,
        reclaim_seconds: known(|run| run.reclaim_seconds),
        fault_seconds: known(Run::fault_seconds),
        worker_reclaim_seconds: known(|run| run.worker_reclaim_seconds),
        vcpu_us_per_page: known(Run::vcpu_us_per_page),
        latency_p50_us: known(|run| Some(run.latency?.p50_us)),
        latency_p99_us: known(|run| Some(run.latency?.p99_us)),
        local_latency_p99_us: known(|run| Some(run.local_latency?.p99_us)),
        pages_out: of(|run| run.pages_out as f64)?,
        pages_in: of(|run| run.pages_in as f64)?,
        major_faults: of(|run| run.major_faults as f64)?,
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use clap::ValueEnum;
    use proptest::prelude::*;

    /// A run of one second of work and `cost` seconds of swapping.
    pub fn run(backend: Row, workload: Workload, round: u32, cost: f64) -> Run {
        Run {
            backend,
            workload,
            local_percent: 50,
            round,
            seconds: 1.0 + cost,
            local_seconds: 1.0,
            vcpu_seconds: Some(1.0 + cost / 2.0),
            local_vcpu_seconds: Some(1.0),
            pages_out: 600,
            pages_in: 400,
            major_faults: 400,
            reclaim_seconds: Some(cost / 4.0),
            worker_reclaim_seconds: Some(cost * 2.0),
            latency: None,
            local_latency: None,
        }
    }

    #[test]
    fn a_summary_is_of_the_rounds_of_one_row() {
        let rounds = [4.0, 2.0, 3.0];
        let runs: Vec<Run> = (0..)
            .zip(rounds)
            .flat_map(|(round, cost)| {
                [
                    run(Row::Disk, Workload::Random, round, 100.0),
                    run(Row::Nvme, Workload::Random, round, cost),
                ]
            })
            .collect();
        let found = summaries(&runs);
        assert_eq!(found.len(), 2);
        let nvme = &found[0];
        assert_eq!(nvme.backend, Row::Nvme);
        let Spread { median, min, max } = nvme.cost_seconds;
        assert_eq!((median, min, max), (3.0, 2.0, 4.0));
        let faults = nvme.fault_seconds.expect("traced");
        assert!((faults.median - 2.25).abs() < 1e-9, "{faults}");
        let workers = nvme.worker_reclaim_seconds.expect("traced");
        assert!((workers.median - 6.0).abs() < 1e-9, "{workers}");
        let vcpu = nvme.vcpu_us_per_page.expect("guests");
        assert!((vcpu.median - 1500.0).abs() < 1e-6, "{vcpu}");
    }

    #[test]
    fn without_pages_or_guests_there_is_no_time_a_page() {
        let mut one = run(Row::Zram, Workload::Random, 0, 1.0);
        (one.pages_in, one.pages_out) = (0, 0);
        assert_eq!(one.vcpu_us_per_page(), None);
        let mut one = run(Row::Zram, Workload::Random, 0, 1.0);
        one.local_vcpu_seconds = None;
        assert_eq!(one.vcpu_us_per_page(), None);
    }

    proptest! {
        #[test]
        fn no_run_is_lost(costs in proptest::collection::vec(0.0..100.0f64, 1..20)) {
            let rows = Row::value_variants();
            let runs: Vec<Run> = costs.iter().enumerate().map(|(n, &cost)| {
                run(rows[n % rows.len()], Workload::Random, n as u32, cost)
            }).collect();
            let found = summaries(&runs);
            prop_assert_eq!(found.len(), costs.len().min(rows.len()));
            let least = found.iter().map(|one| one.cost_seconds.min).fold(f64::INFINITY, f64::min);
            let expected = costs.iter().copied().fold(f64::INFINITY, f64::min);
            prop_assert!((least - expected).abs() < 1e-9);
        }
    }
}
