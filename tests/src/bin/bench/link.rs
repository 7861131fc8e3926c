//! Measures a cluster and the swap on it, each against what the same link does
//! without swap, so that the ratios mean something on any host.

mod measure;
mod pages;
mod perftest;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rapidswap_progress::Reporter;
use rapidswap_tests::median::median;
use rapidswap_tests::scene::Scene;
use rapidswap_tests::table::Table;
use rapidswap_vm::{Cluster, Platform, UpOptions, interrupt};
use serde::Serialize;

use crate::attended::attended;
pub use measure::{Measured, Rounds};
pub use pages::{PAGES_PER_MIB, pageout_mib_s};
pub use perftest::Perftest;

/// `up` should take less than this.
const UP_AIM: Duration = Duration::from_secs(10);

/// What to measure, and how often.
#[derive(clap::Args)]
pub struct Link {
    /// Rounds of each measurement; medians are taken over these.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    #[command(flatten)]
    platform: Platform,
    /// If it fails, leave the cluster for you to look at.
    #[arg(long)]
    keep: bool,
    /// Name of the cluster that is brought up for it.
    #[arg(long, default_value = "bench")]
    name: String,
}

/// Medians, and the rounds that they are of.
#[derive(Serialize)]
pub struct Outcome {
    accel: String,
    accel_reason: String,
    up_s: f64,
    #[serde(flatten)]
    measured: Measured,
    rounds: AllRounds,
}

/// Every round's result, in the order of the rounds.
#[derive(Serialize)]
struct AllRounds {
    up_s: Vec<f64>,
    #[serde(flatten)]
    rounds: Rounds,
}

/// Brings a cluster up a few times, and measures on the last.
pub fn bench(cli: &Link, reporter: &Reporter) -> Result<Outcome> {
    interrupt::take_down("bench", Some(cli.name.clone()), reporter)?;
    let options = UpOptions {
        name: cli.name.clone(),
        keep: cli.keep,
        // What is measured is a start from nothing.
        cold: true,
        ..cli.platform.options()
    };
    let mut up_s = Vec::new();
    // What has to be built is built by the first `up`, which is not measured.
    let mut cluster = Cluster::up(&options, reporter)?;
    for _ in 0..cli.rounds {
        cluster.down()?;
        let start = Instant::now();
        cluster = Cluster::up(&options, reporter)?;
        up_s.push(start.elapsed().as_secs_f64());
    }
    attended(cluster, &cli.name, cli.keep, reporter, |scene| {
        measure(cli, scene, reporter, up_s)
    })
}

fn measure(cli: &Link, scene: &Scene, reporter: &Reporter, up_s: Vec<f64>) -> Result<Outcome> {
    let status = scene.cluster.status()?;
    let mut rounds = Rounds::default();
    for round in 0..cli.rounds {
        let name = format!("bench round {}", round + 1);
        let step = reporter.step(&name, Duration::from_secs(60));
        rounds.measure(scene)?;
        step.done("measured");
    }
    Ok(Outcome {
        accel: status.accel.name().to_owned(),
        accel_reason: status.accel_reason,
        up_s: median(&up_s).context("no rounds")?,
        measured: rounds.medians()?,
        rounds: AllRounds { up_s, rounds },
    })
}

impl Outcome {
    /// For people.
    pub fn table(&self) -> Table {
        let mut table = Table::default();
        table.row(
            "accelerator",
            format!("{} ({})", self.accel, self.accel_reason),
        );
        let aim = UP_AIM.as_secs();
        table.row("up", format!("{:.1} s (aim: below {aim} s)", self.up_s));
        self.measured.rows(&mut table);
        table
    }
}
