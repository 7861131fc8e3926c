//! Faults, page-outs and page-ins, timed on a client that swaps to the memory
//! server, and known to have gone there.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rapidswap_tests::guest::Guest;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::reports::{self, Faults, PAGE_PATTERN, PageIns, PageOuts, Times, parse};
use rapidswap_tests::setting::PAGE_CLUSTER;

/// Memory of the program whose faults are timed, and its limit meanwhile.
const FAULTS_MIB: &str = "24";
const FAULTS_LIMIT_MIB: u64 = 8;

/// The limit under which faults are timed: soon reached.
const PRESSED_LIMIT_MIB: u64 = 4;

/// Samples in a round: enough for a 99th percentile, and some seconds under
/// TCG.
pub const SAMPLES: usize = 5000;

/// Of a MiB.
pub const PAGES_PER_MIB: f64 = 256.0;

/// Random faults that read pages which are remote. The limit is lifted before
/// the first, so that no reclaim is in them.
pub fn faults(client: &Guest, seed: usize) -> Result<Times> {
    let limit = Limit::new(client, FAULTS_LIMIT_MIB)?;
    one_page_a_fault(client, || timed(client, &limit, seed, &[], || limit.lift()))
}

/// Random faults that write to pages which are remote, under a limit: when it
/// is reached, for most of them others have to be stored first.
pub fn faults_at_the_limit(client: &Guest, seed: usize) -> Result<Times> {
    let limit = Limit::new(client, PRESSED_LIMIT_MIB)?;
    one_page_a_fault(client, || {
        timed(client, &limit, seed, &["--write"], || Ok(()))
    })
}

fn timed(
    client: &Guest,
    limit: &Limit,
    seed: usize,
    kind: &[&str],
    before_the_first: impl FnOnce() -> Result<()>,
) -> Result<Times> {
    let (samples, seed) = (SAMPLES.to_string(), seed.to_string());
    let sampling = ["--samples", &samples, "--seed", &seed, "--wait"];
    let command = [
        &[PAGE_PATTERN, "faults", "--mib", FAULTS_MIB][..],
        &sampling,
        kind,
    ]
    .concat();
    let before = client.vmstat()?;
    let mut program = limit.start(&command)?;
    program.line()?;
    before_the_first()?;
    let filled = client.vmstat()?;
    program.say("go")?;
    let faults: Faults = parse(&program.line()?)?;
    let output = program.finish(Duration::from_secs(60))?;
    ensure!(faults.corrupt_bytes == 0, "corrupt bytes: {faults:?}");
    ensure!(output.status.success(), "page-pattern: {}", output.status);
    ensure!(
        faults.fault_ns.count == SAMPLES,
        "{} faults instead of {SAMPLES}: not enough of the memory was out",
        faults.fault_ns.count
    );
    let (out, back) = (filled.since(&before), client.vmstat()?.since(&filled));
    let (out, back) = out.zip(back).context("no counters of remote swap")?;
    ensure!(out.disk_writes == 0, "pages went to disk: {out}");
    ensure!(
        back.loaded >= faults.fault_ns.count as u64,
        "faults were not remote loads: {back}"
    );
    Ok(faults.fault_ns)
}

/// Rate of `MADV_PAGEOUT` of touched memory.
pub fn pageout_mib_s(client: &Guest) -> Result<f64> {
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

/// Rate of reading memory that is out, page after page.
pub fn pagein_mib_s(client: &Guest) -> Result<f64> {
    let before = client.vmstat()?;
    let output = client.run(&[PAGE_PATTERN, "pagein", "--mib", "16"])?;
    let report: PageIns = reports::report(&output)?;
    ensure!(
        report.corrupt_bytes == 0,
        "{} corrupt bytes",
        report.corrupt_bytes
    );
    let moved = client.vmstat()?.since(&before);
    let moved = moved.context("no counters of remote swap")?;
    ensure!(
        moved.loaded >= report.pages_in && moved.disk_writes == 0,
        "page-ins were not remote loads: {moved}"
    );
    Ok(report.mib_per_second)
}

/// Does something with read-ahead off, which would be measured otherwise, and
/// puts it back.
fn one_page_a_fault<T>(client: &Guest, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let usual = client.read(PAGE_CLUSTER)?;
    client.write(PAGE_CLUSTER, "0")?;
    let done = work();
    client.write(PAGE_CLUSTER, usual.trim())?;
    done
}
