//! Swap to the memory server beside what people would use instead: the same
//! jobs on the same two nodes and the same link, by turns in one run.

mod backends;
mod charts;
mod memory;
mod one_by_one;
mod outcome;
mod plot;
mod ratios;
mod report;
mod results;
mod run;
mod wanted;
mod workloads;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use rapidswap_progress::Reporter;
use rapidswap_tests::scene::Scene;
use rapidswap_tests::setting::PAGE_CLUSTER;
use rapidswap_vm::{Cluster, Platform, Size, UpOptions, interrupt};

use crate::attended::attended;
use crate::link::Rounds;
use backends::Row;
use outcome::{KernelMemory, Link, OneByOne, Outcome};
use ratios::{Found, PERCENT, Ratios};
use results::{Run, summaries};
use run::{Took, run};
use workloads::Workload;

/// Shares of a job's memory that `--full` leaves it.
const FULL_PERCENTS: [u64; 3] = [25, PERCENT, 75];

/// Memory of a node, and of what it swaps to, that is enough for small jobs.
const LEAST_MEMORY_MIB: u64 = 512;
const LEAST_AREA_MIB: u64 = 256;

/// Soft-RoCE takes its packets' memory without waiting for reclaim.
const MIN_FREE_KIB: &str = "32768";

/// With less a server takes minutes to start, if it does.
const LEAST_SERVER_MIB: u64 = 4;

/// What to compare, on how much memory, and how often.
#[derive(clap::Args)]
pub struct Swap {
    /// Rounds; medians are taken over these.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Memory that each job uses.
    #[arg(long, default_value = "16M")]
    size: Size,
    /// Every workload, with 25, 50 and 75 % of its memory local; for hosts.
    #[arg(long)]
    full: bool,
    /// What to swap to, with commas between.
    #[arg(long, value_name = "ROW,…", value_enum, value_delimiter = ',', default_values_t = Row::value_variants().to_vec())]
    rows: Vec<Row>,
    /// What to run, with commas between: sequential, random, quicksort and pagerank if not said.
    #[arg(long, value_name = "WORKLOAD,…", value_enum, value_delimiter = ',')]
    workloads: Vec<Workload>,
    /// Requests in a second to redis and memcached.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// CPUs of each node.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: u32,
    #[command(flatten)]
    platform: Platform,
    /// Where the report and its plots go.
    #[arg(long, value_name = "DIR", default_value = "target/bench-swap")]
    report: PathBuf,
    /// If it fails, leave the cluster for you to look at.
    #[arg(long)]
    keep: bool,
    /// Name of the cluster that is brought up for it.
    #[arg(long, default_value = "bench-swap")]
    name: String,
}

/// Brings a cluster up and compares on it.
pub fn bench(options: &Swap, reporter: &Reporter) -> Result<Outcome> {
    options.suffice()?;
    interrupt::take_down("bench", Some(options.name.clone()), reporter)?;
    let cluster = Cluster::up(&options.up()?, reporter)?;
    let outcome = attended(cluster, &options.name, options.keep, reporter, |scene| {
        compare(options, scene, reporter)
    })?;
    let path = report::write(&options.report, &outcome)?;
    reporter.note(&format!("report: {}", path.display()));
    Ok(outcome)
}

impl Swap {
    fn workloads(&self) -> Vec<Workload> {
        match (&self.workloads[..], self.full) {
            ([], true) => Workload::value_variants().to_vec(),
            ([], false) => Workload::DEFAULT.to_vec(),
            (chosen, _) => chosen.to_vec(),
        }
    }

    fn percents(&self) -> &'static [u64] {
        match self.full {
            true => &FULL_PERCENTS,
            false => &[PERCENT],
        }
    }

    /// Memory that a job has at most of the local node.
    fn limit_mib(&self, percent: u64) -> u64 {
        (self.size.mib() * percent / 100).max(1)
    }

    /// Whether servers can start with what is left to them.
    fn suffice(&self) -> Result<()> {
        let least = self.percents()[0];
        let mut servers = self.workloads().into_iter();
        ensure!(
            self.limit_mib(least) >= LEAST_SERVER_MIB
                || !servers.any(|workload| workload.has_a_rate()),
            "--size {} leaves redis and memcached {} MiB: give {}M or more, or --workloads without them",
            self.size,
            self.limit_mib(least),
            (LEAST_SERVER_MIB * 100).div_ceil(least)
        );
        Ok(())
    }

    /// Pages of all that a job uses fit into it twice.
    fn area_mib(&self) -> u64 {
        LEAST_AREA_MIB.max(2 * self.size.mib())
    }

    fn up(&self) -> Result<UpOptions> {
        // All of a job's memory, and as much again as zram may take.
        let memory_mib = LEAST_MEMORY_MIB.max(LEAST_AREA_MIB + 3 * self.size.mib());
        Ok(UpOptions {
            name: self.name.clone(),
            memory_mib: u32::try_from(memory_mib).context("--size is too large")?,
            cpus: self.cpus,
            swap: false,
            server_mib: self.area_mib(),
            disk_mib: self.area_mib(),
            keep: self.keep,
            ..self.platform.options()
        })
    }
}

fn compare(options: &Swap, scene: &Scene, reporter: &Reporter) -> Result<Outcome> {
    let status = scene.cluster.status()?;
    for node in [&scene.client, &scene.server] {
        node.write("/proc/sys/vm/min_free_kbytes", MIN_FREE_KIB)?;
    }
    let page_cluster = scene.client.read(PAGE_CLUSTER)?;
    let (mut runs, mut load) = (Vec::new(), vec![loadavg()?]);
    let mut link = Rounds::default();
    let mut one_by_one = one_by_one::Rounds::default();
    let mut memory = memory::Rounds::new(options.area_mib());
    for round in 0..options.rounds {
        let locals = without_limit(options, scene, round, reporter)?;
        // By turns, so that no row has always the same place after another.
        let mut rows = options.rows.clone();
        rows.rotate_left(round as usize % options.rows.len());
        for row in rows {
            let title = row.backend().title();
            let name = format!("bench swap round {}: {title}", round + 1);
            let step = reporter.step(&name, Duration::from_secs(90));
            if row == Row::Rapidswap {
                step.message("kernel memory");
                memory.measure(scene, row.backend())?;
            }
            row.backend()
                .set_up(scene, options.area_mib())
                .with_context(|| format!("set up {title}"))?;
            if row == Row::Rapidswap {
                step.message("the link");
                link.measure(scene)?;
            } else if row == Row::OneByOne {
                step.message("the link");
                one_by_one.measure(scene)?;
            }
            for &percent in options.percents() {
                for (&workload, local) in &locals {
                    step.message(workload.title());
                    let mib = options.size.mib();
                    let limit = Some(options.limit_mib(percent));
                    let took = run(scene, workload, (mib, options.rate), limit);
                    let took = took.with_context(|| format!("on {title}"))?;
                    ensure!(
                        took.checksum == local.checksum,
                        "{} on {title} came to another result than without a limit",
                        workload.title()
                    );
                    runs.push(Run::new((row, workload, percent, round), &took, local));
                }
            }
            row.backend()
                .take_down(scene)
                .with_context(|| format!("take down {title}"))?;
            step.done("measured");
        }
        load.push(loadavg()?);
    }
    let link = match options.rows.contains(&Row::Rapidswap) {
        true => Some(Link {
            measured: link.medians()?,
            rounds: link,
        }),
        false => None,
    };
    let one_by_one = one_by_one.medians().map(|measured| OneByOne {
        measured,
        rounds: one_by_one,
    });
    let memory = memory.medians().map(|measured| KernelMemory {
        measured,
        rounds: memory,
    });
    let summaries = summaries(&runs);
    let found = Found {
        summaries: &summaries,
        link: link.as_ref().map(|link| &link.measured),
        one_by_one: one_by_one.as_ref().map(|found| &found.measured),
        memory: memory.as_ref().map(|found| &found.measured),
    };
    Ok(Outcome {
        accel: status.accel.name().to_owned(),
        accel_reason: status.accel_reason,
        kernel_release: status.kernel_release,
        cpus: status.cpus,
        page_cluster: page_cluster.trim().parse().context("page-cluster")?,
        size_mib: options.size.mib(),
        rate: options.rate,
        rounds: options.rounds,
        load,
        ratios: Ratios::of(found),
        summaries,
        link,
        one_by_one,
        kernel_memory: memory,
        runs,
    })
}

/// Each workload with all the memory it wants.
fn without_limit(
    options: &Swap,
    scene: &Scene,
    round: u32,
    reporter: &Reporter,
) -> Result<BTreeMap<Workload, Took>> {
    let name = format!("bench swap round {}: no limit", round + 1);
    let step = reporter.step(&name, Duration::from_secs(10));
    let workloads = options.workloads().into_iter();
    let locals = workloads.map(|workload| {
        step.message(workload.title());
        Ok((
            workload,
            run(scene, workload, (options.size.mib(), options.rate), None)?,
        ))
    });
    let locals = locals.collect::<Result<_>>().context("without a limit")?;
    step.done("measured");
    Ok(locals)
}

/// How many processes want the host's processors.
fn loadavg() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").context("read /proc/loadavg")?;
    let first = text.split(' ').next().unwrap_or_default();
    first.parse().context("/proc/loadavg")
}
