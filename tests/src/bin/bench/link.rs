//! Measures a cluster and the swap on it, each against what the same link does
//! without swap, so that the ratios mean something on any host.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rapidswap_progress::Reporter;
use rapidswap_tests::artifacts;
use rapidswap_tests::guest::Guest;
use rapidswap_tests::interrupt;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::median::median;
use rapidswap_tests::memory_server::ADDRESS;
use rapidswap_tests::perftest::{average_mib_per_second, typical_latency_us};
use rapidswap_tests::remote_module::selftest;
use rapidswap_tests::reports::{Faults, PAGE_PATTERN, PageOuts, parse};
use rapidswap_tests::scene::{Scene, end};
use rapidswap_tests::table::Table;
use rapidswap_tests::verdict::Splatted;
use rapidswap_vm::{Cluster, UpOptions};
use serde::Serialize;

/// Median fault of swap over NVMe over RDMA in units of `ib_read_lat`, on the
/// same link between the same nodes: what this is measured against.
const REFERENCE: f64 = 2.1;

/// `up` should take less than this.
const UP_AIM: Duration = Duration::from_secs(10);

/// Memory of the program whose faults are timed, and its limit meanwhile.
const FAULTS_MIB: &str = "24";
const FAULTS_LIMIT_MIB: u64 = 8;

/// Samples in a round: enough for a median, and a few seconds under TCG.
const SAMPLES: usize = 500;

/// perftest now and then hangs, or finds its port still in use.
const PERFTEST_TRIES: u16 = 4;
const PERFTEST_LIMIT: Duration = Duration::from_secs(60);

/// What to measure, and how often.
#[derive(clap::Args)]
pub struct Link {
    /// Rounds of each measurement; medians are taken over these.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// If it fails, leave the cluster for you to look at.
    #[arg(long)]
    keep: bool,
    /// Name of the cluster that is brought up for it.
    #[arg(long, default_value = "bench")]
    name: String,
}

/// Every round's result, in the order of the rounds.
#[derive(Default, Serialize)]
struct Rounds {
    up_s: Vec<f64>,
    fault_us: Vec<f64>,
    selftest_read_us: Vec<f64>,
    ib_read_lat_us: Vec<f64>,
    pageout_mib_s: Vec<f64>,
    ib_write_bw_mib_s: Vec<f64>,
}

/// Medians, and the rounds that they are of.
#[derive(Serialize)]
pub struct Outcome {
    accel: String,
    accel_reason: String,
    up_s: f64,
    fault_us: f64,
    selftest_read_us: f64,
    ib_read_lat_us: f64,
    fault_to_selftest: f64,
    fault_to_ib_read_lat: f64,
    reference_fault_to_ib_read_lat: f64,
    pageout_mib_s: f64,
    ib_write_bw_mib_s: f64,
    pageout_to_ib_write_bw: f64,
    rounds: Rounds,
}

/// Brings a cluster up a few times, and measures on the last.
pub fn bench(cli: &Link, reporter: &Reporter) -> Result<Outcome> {
    interrupt::take_down(&cli.name)?;
    let options = UpOptions {
        name: cli.name.clone(),
        keep: cli.keep,
        // What is measured is a start from nothing.
        cold: true,
        ..UpOptions::default()
    };
    let mut rounds = Rounds::default();
    // What has to be built is built by the first `up`, which is not measured.
    let mut cluster = Cluster::up(&options, reporter)?;
    for _ in 0..cli.rounds {
        cluster.down()?;
        let start = Instant::now();
        cluster = Cluster::up(&options, reporter)?;
        rounds.up_s.push(start.elapsed().as_secs_f64());
    }
    let scene = Scene::of(cluster)?;
    let measured = measure(cli, &scene, reporter, rounds);
    let splats = scene.splats();
    let good = measured.is_ok() && splats.as_ref().is_ok_and(Vec::is_empty);
    if !good {
        artifacts::keep(&scene, &cli.name);
    }
    let down = end(scene.cluster, cli.keep && !good, reporter);
    let outcome = measured?;
    let splats = splats?;
    if !splats.is_empty() {
        return Err(Splatted(splats.join("; ")).into());
    }
    down?;
    Ok(outcome)
}

fn measure(cli: &Link, scene: &Scene, reporter: &Reporter, mut rounds: Rounds) -> Result<Outcome> {
    let status = scene.cluster.status()?;
    // One page a fault: read-ahead would be measured otherwise.
    scene.client.write("/proc/sys/vm/page-cluster", "0")?;
    for round in 0..cli.rounds {
        let name = format!("bench round {}", round + 1);
        let step = reporter.step(&name, Duration::from_secs(45));
        rounds.fault_us.push(fault_us(&scene.client, round)?);
        let reads = selftest(&scene.client, SAMPLES)?;
        let reads: Vec<f64> = reads.into_iter().map(|ns| ns as f64 / 1000.0).collect();
        let read = median(&reads).context("the self-test measured nothing")?;
        rounds.selftest_read_us.push(read);
        rounds
            .ib_read_lat_us
            .push(perftest(scene, "ib_read_lat", SAMPLES, typical_latency_us)?);
        rounds.pageout_mib_s.push(pageout_mib_s(&scene.client)?);
        rounds.ib_write_bw_mib_s.push(perftest(
            scene,
            "ib_write_bw",
            4096,
            average_mib_per_second,
        )?);
        step.done("measured");
    }
    let middle = |values: &[f64]| median(values).context("no rounds");
    let fault_us = middle(&rounds.fault_us)?;
    let selftest_read_us = middle(&rounds.selftest_read_us)?;
    let ib_read_lat_us = middle(&rounds.ib_read_lat_us)?;
    let pageout_mib_s = middle(&rounds.pageout_mib_s)?;
    let ib_write_bw_mib_s = middle(&rounds.ib_write_bw_mib_s)?;
    Ok(Outcome {
        accel: status.accel.name().to_owned(),
        accel_reason: status.accel_reason,
        up_s: middle(&rounds.up_s)?,
        fault_us,
        selftest_read_us,
        ib_read_lat_us,
        fault_to_selftest: fault_us / selftest_read_us,
        fault_to_ib_read_lat: fault_us / ib_read_lat_us,
        reference_fault_to_ib_read_lat: REFERENCE,
        pageout_mib_s,
        ib_write_bw_mib_s,
        pageout_to_ib_write_bw: pageout_mib_s / ib_write_bw_mib_s,
        rounds,
    })
}

/// Median of random faults on pages that are remote. The limit is lifted
/// before the first, so that no reclaim is in it.
fn fault_us(client: &Guest, round: u32) -> Result<f64> {
    let limit = Limit::new(client, FAULTS_LIMIT_MIB)?;
    let (samples, seed) = (SAMPLES.to_string(), round.to_string());
    let sampling = ["--samples", &samples, "--seed", &seed, "--wait"];
    let command = [
        &[PAGE_PATTERN, "faults", "--mib", FAULTS_MIB][..],
        &sampling,
    ]
    .concat();
    let before = client.vmstat()?;
    let mut program = limit.start(&command)?;
    program.line()?;
    limit.lift()?;
    let filled = client.vmstat()?;
    program.say("go")?;
    let faults: Faults = parse(&program.line()?)?;
    let output = program.finish(Duration::from_secs(60))?;
    ensure!(output.status.success(), "page-pattern: {}", output.status);
    let (out, back) = (filled.since(&before), client.vmstat()?.since(&filled));
    let (out, back) = out.zip(back).context("no counters of remote swap")?;
    ensure!(out.disk_writes == 0, "pages went to disk: {out}");
    ensure!(
        back.loaded >= faults.fault_ns.count as u64,
        "faults were not remote loads: {back}"
    );
    Ok(faults.fault_ns.p50 as f64 / 1000.0)
}

fn pageout_mib_s(client: &Guest) -> Result<f64> {
    let before = client.vmstat()?;
    let output = client.ok(&[PAGE_PATTERN, "pageout", "--mib", "16", "--rounds", "1"])?;
    let report: PageOuts = parse(output.trim())?;
    let moved = client.vmstat()?.since(&before);
    let moved = moved.context("no counters of remote swap")?;
    let round = report.rounds.first().context("no round")?;
    ensure!(
        moved.stored >= round.pages_out && moved.disk_writes == 0,
        "page-outs were not remote stores: {moved}"
    );
    Ok(round.mib_per_second)
}

/// One run of a perftest program between the nodes, tried again with a new
/// port when it hangs or breaks off.
fn perftest(
    scene: &Scene,
    program: &str,
    iterations: usize,
    result: fn(&str) -> Option<f64>,
) -> Result<f64> {
    let mut last = String::new();
    for attempt in 0..PERFTEST_TRIES {
        let (port, count) = ((18515 + attempt).to_string(), iterations.to_string());
        let arguments = ["-F", "-d", "rxe0", "-m", "4096", "-s", "4096"];
        let chosen = ["-n", &count, "-p", &port];
        let listening = [&[program][..], &arguments, &chosen].concat();
        let server = scene.server.start(&listening)?;
        wait_for_listener(&scene.server, &port)?;
        let client = scene.client.start(&[&listening[..], &[ADDRESS]].concat())?;
        match client.finish(PERFTEST_LIMIT) {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                if let Some(value) = result(&text) {
                    return Ok(value);
                }
                last = format!("{}: {text}", output.status);
            }
            Err(error) => last = format!("{error:#}"),
        }
        // Dropped, the server is killed.
        drop(server);
    }
    anyhow::bail!("{program} gave no result in {PERFTEST_TRIES} tries, the last: {last}")
}

fn wait_for_listener(guest: &Guest, port: &str) -> Result<()> {
    let hex = format!(":{:04X} ", port.parse::<u16>()?);
    rapidswap_tests::wait::wait_until("perftest to listen", Duration::from_secs(20), || {
        let tables =
            guest.read("/proc/net/tcp")? + &guest.read("/proc/net/tcp6").unwrap_or_default();
        let listens = |line: &&str| line.contains(&hex) && line.contains(" 0A ");
        Ok(tables.lines().find(listens).map(drop))
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
        table.row("random fault", format!("{:.0} us", self.fault_us));
        table.row("self-test READ", format!("{:.0} us", self.selftest_read_us));
        table.row("ib_read_lat", format!("{:.0} us", self.ib_read_lat_us));
        table.row(
            "fault to self-test",
            format!("{:.2}", self.fault_to_selftest),
        );
        table.row(
            "fault to ib_read_lat",
            format!(
                "{:.2} (swap over NVMe/RDMA: {:.1})",
                self.fault_to_ib_read_lat, self.reference_fault_to_ib_read_lat
            ),
        );
        table.row("page-out", format!("{:.1} MiB/s", self.pageout_mib_s));
        table.row(
            "ib_write_bw",
            format!("{:.1} MiB/s", self.ib_write_bw_mib_s),
        );
        table.row(
            "page-out to ib_write_bw",
            format!("{:.2}", self.pageout_to_ib_write_bw),
        );
        table
    }
}
