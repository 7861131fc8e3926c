//! The main job, from nothing to a table: builds what is missing, brings up
//! two nodes, runs a program under a memory limit with its pages going to the
//! other node's memory, checks every byte, and takes everything down.
//!
//! Exit status: that of `rapidswap_vm::Outcome`; 1 is a corrupt byte, or no
//! page remote.

use std::process::ExitCode;

use anyhow::{Error, Result, anyhow, bail, ensure};
use clap::Parser;
use rapidswap_progress::{Events, Reporter};
use rapidswap_tests::limit::Limit;
use rapidswap_tests::reports::{PAGE_PATTERN, Verified, report};
use rapidswap_tests::scene::{Scene, end};
use rapidswap_tests::table::{Table, print};
use rapidswap_tests::verdict::failed;
use rapidswap_vm::Error::KernelFaults as Complained;
use rapidswap_vm::{
    Cluster, Platform, Splat, UpOptions, ended, human_readable, interrupt, keep_failure,
};
use serde::Serialize;

#[derive(Parser)]
#[command(
    version,
    about = "Swaps a program to another node's memory and checks every byte"
)]
struct Cli {
    /// Print one JSON object on stdout and nothing else there.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    platform: Platform,
    /// Memory the program touches, in MiB.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(16..=200))]
    mib: u32,
    /// The program's memory limit, in MiB.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(8..=200))]
    limit: u32,
    /// How steps report themselves on stderr: text, or json, a line for each event.
    #[arg(
        long,
        value_name = "FORM",
        default_value = "text",
        env = "RAPIDSWAP_EVENTS"
    )]
    #[arg(hide_env_values = true)]
    events: Events,
    /// If it fails, leave the cluster for you to look at.
    #[arg(long)]
    keep: bool,
    /// Name of the cluster that is brought up for it.
    #[arg(long, default_value = "demo")]
    name: String,
}

/// What was seen. The names are those of the JSON object.
#[derive(Serialize)]
struct Outcome {
    accel: String,
    accel_reason: String,
    build_s: f64,
    up_s: f64,
    pages_stored: u64,
    pages_loaded: u64,
    disk_writes: u64,
    bytes_verified: u64,
    corrupt_bytes: u64,
    slowdown: f64,
    #[serde(skip)]
    seconds: f64,
    #[serde(skip)]
    seconds_unlimited: f64,
    #[serde(skip)]
    splats: Vec<Splat>,
}

fn main() -> ExitCode {
    let cli: Cli = rapidswap_cli::parse("demo");
    let reporter = Reporter::new(cli.events);
    let done = show(&cli, &reporter).and_then(|outcome| {
        print(&outcome, &outcome.table(&cli), cli.json)?;
        outcome.failure().map_or(Ok(()), Err)
    });
    match done {
        Ok(()) => {
            ended(&reporter, 0, None);
            ExitCode::SUCCESS
        }
        Err(error) => ExitCode::from(failed("demo", &error, &reporter)),
    }
}

fn show(cli: &Cli, reporter: &Reporter) -> Result<Outcome> {
    ensure!(
        cli.limit < cli.mib,
        "--limit {} does not limit a program of {} MiB: choose less than --mib",
        cli.limit,
        cli.mib
    );
    interrupt::take_down("demo", Some(cli.name.clone()), reporter)?;
    let options = UpOptions {
        name: cli.name.clone(),
        keep: cli.keep,
        ..cli.platform.options()
    };
    let cluster = Cluster::up(&options, reporter)?;
    let scene = Scene::of(cluster)?;
    let outcome = measure(cli, &scene, reporter);
    let outcome = outcome.or_else(|error| scene.cluster.judge(Err(error), reporter));
    let good = outcome.as_ref().is_ok_and(|o| o.failure().is_none());
    if !good {
        interrupt::heed();
        keep_failure(&scene.cluster, &cli.name, reporter);
    }
    let down = end(scene.cluster, cli.keep && !good, reporter);
    let outcome = outcome?;
    down?;
    Ok(outcome)
}

fn measure(cli: &Cli, scene: &Scene, reporter: &Reporter) -> Result<Outcome> {
    let status = scene.cluster.status()?;
    let mib = cli.mib.to_string();
    let command = [PAGE_PATTERN, "verify", "--mib", &mib];

    let expect = std::time::Duration::from_secs(5);
    let step = reporter.step("page-pattern without a limit", expect);
    let unlimited: Verified = report(&scene.client.run(&command)?)?;
    step.done(&format!("{:.1} s", unlimited.seconds));

    let before = scene.client.vmstat()?;
    let limit = Limit::new(&scene.client, u64::from(cli.limit))?;
    let name = format!("page-pattern, {} MiB under {} MiB", cli.mib, cli.limit);
    let step = reporter.step(&name, expect * 12);
    let limited: Verified = report(&limit.run(&command)?)?;
    step.done(&format!("{:.1} s", limited.seconds));
    let moved = scene.client.vmstat()?.since(&before);
    let Some(moved) = moved else {
        bail!("the kernel has no counters of remote swap: is it the patched one?");
    };
    Ok(Outcome {
        accel: status.accel.name().to_owned(),
        accel_reason: status.accel_reason,
        build_s: rounded(status.build_s),
        up_s: rounded(status.up_s),
        pages_stored: moved.stored,
        pages_loaded: moved.loaded,
        disk_writes: moved.disk_writes,
        bytes_verified: limited.bytes_verified,
        corrupt_bytes: limited.corrupt_bytes,
        slowdown: rounded(limited.seconds / unlimited.seconds),
        seconds: limited.seconds,
        seconds_unlimited: unlimited.seconds,
        splats: scene.cluster.tell(reporter)?,
    })
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

impl Outcome {
    /// Why this is no success: a kernel's complaint comes before the rest,
    /// which may be its consequence.
    fn failure(&self) -> Option<Error> {
        let mut wrong = Vec::new();
        if self.corrupt_bytes > 0 {
            wrong.push(format!("{} corrupt bytes", self.corrupt_bytes));
        }
        if self.pages_stored == 0 || self.pages_loaded == 0 {
            wrong.push("no page went to the other node's memory and back".to_owned());
        }
        let then = wrong.iter().map(|wrong| format!("; then: {wrong}"));
        match (self.splats.is_empty(), wrong.is_empty()) {
            (true, true) => None,
            (true, false) => Some(anyhow!("{}", wrong.join("; "))),
            (false, _) => Some(Error::from(Complained {
                faults: self.splats.clone(),
                then: then.collect(),
            })),
        }
    }

    fn table(&self, cli: &Cli) -> Table {
        let mut table = Table::default();
        let pages = |count: u64| format!("{count} ({})", human_readable(count * 4096));
        let cached = if self.build_s < 5.0 { " (cached)" } else { "" };
        let accel = format!("{} ({})", self.accel, self.accel_reason);
        table.row("accelerator", accel);
        table.row("build", format!("{:.1} s{cached}", self.build_s));
        table.row("bring-up", format!("{:.1} s", self.up_s));
        let program = format!("{} MiB under a limit of {} MiB", cli.mib, cli.limit);
        table.row("program", program);
        table.row("pages stored remotely", pages(self.pages_stored));
        table.row("pages loaded remotely", pages(self.pages_loaded));
        table.row("pages to disk", pages(self.disk_writes));
        table.row("bytes verified", self.bytes_verified);
        table.row("corrupt bytes", self.corrupt_bytes);
        table.row("kernel faults", self.splats.len());
        let time = format!(
            "{:.1} s, {:.0} times the {:.2} s without a limit",
            self.seconds, self.slowdown, self.seconds_unlimited
        );
        table.row("time", time);
        table
    }
}
