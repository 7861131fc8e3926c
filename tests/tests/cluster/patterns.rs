//! Every byte that leaves comes back: the page-pattern program, 64 MiB under a
//! limit of 32 MiB.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rapidswap_protocol::ExitStatus;
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::reports::{Held, PAGE_PATTERN, Verified, all_right, parse, report};
use rapidswap_tests::scene::{Scene, on_cluster, scaled};
use rapidswap_tests::swap_area::Backing;
use rapidswap_tests::vmstat::Moved;

const MIB: u64 = 64;
const LIMIT_MIB: u64 = 32;
const SERVER_MIB: u64 = 192;

/// Pages that cannot have stayed, with room for what the program itself uses.
const AT_LEAST: u64 = (MIB - LIMIT_MIB) * 256;

/// Runs page-pattern and checks that all was right and remote.
fn verify(scene: &Scene, backing: Backing, arguments: &[&str], times: u64) -> Result<Moved> {
    let swap = Arrangement::remote(scene, SERVER_MIB, backing)?;
    let limit = Limit::new(swap.client, LIMIT_MIB)?;
    let mib = MIB.to_string();
    let command = [&[PAGE_PATTERN, "verify", "--mib", &mib][..], arguments].concat();
    let output = limit.run(&command)?;
    all_right(&output, MIB, times)?;
    let moved = swap.moved()?;
    eprintln!("{moved}");
    ensure!(moved.stored >= AT_LEAST, "too few pages stored: {moved}");
    ensure!(moved.loaded >= AT_LEAST, "too few pages loaded: {moved}");
    ensure!(
        moved.disk_writes == 0 && moved.diverted == 0,
        "pages went to disk: {moved}"
    );
    swap.end()?;
    Ok(moved)
}

#[test]
fn sequential() -> Result<()> {
    on_cluster(|scene| verify(scene, Backing::Disk, &["--order", "sequential"], 1).map(drop))
}

#[test]
fn shared_memory() -> Result<()> {
    on_cluster(|scene| verify(scene, Backing::Disk, &["--shmem"], 1).map(drop))
}

/// Parent and child check everything, the child rewrites half, both check
/// everything again.
#[test]
fn after_fork() -> Result<()> {
    on_cluster(|scene| verify(scene, Backing::Disk, &["--order", "fork"], 4).map(drop))
}

/// With an area whose disk fails every write, right results prove that the
/// pages were remote.
#[test]
fn random_over_a_disk_that_fails_every_write() -> Result<()> {
    on_cluster(|scene| verify(scene, Backing::FailingDisk, &["--order", "random"], 1).map(drop))
}

/// What the server cannot hold goes to the disk, and is counted.
#[test]
fn a_server_smaller_than_the_working_set() -> Result<()> {
    on_cluster(|scene| {
        let server_mib = 16;
        let swap = Arrangement::remote(scene, server_mib, Backing::Disk)?;
        let limit = Limit::new(swap.client, LIMIT_MIB)?;
        let mib = MIB.to_string();
        let output = limit.run(&[PAGE_PATTERN, "verify", "--mib", &mib])?;
        all_right(&output, MIB, 1)?;
        let moved = swap.moved()?;
        eprintln!("{moved}");
        ensure!(
            moved.stored > 0 && moved.loaded > 0,
            "nothing was remote: {moved}"
        );
        let beyond = AT_LEAST - server_mib * 256;
        ensure!(moved.diverted >= beyond, "too few pages diverted: {moved}");
        ensure!(
            moved.disk_writes >= moved.diverted && moved.disk_reads > 0,
            "diverted pages are not on the disk: {moved}"
        );
        swap.end()
    })
}

/// A check that cannot fail proves nothing: one flipped bit in the server's
/// memory is one corrupt byte of the right page.
#[test]
fn a_flipped_bit_in_the_servers_memory_is_one_corrupt_byte() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, SERVER_MIB, Backing::FailingDisk)?;
        let limit = Limit::new(swap.client, 8)?;
        let mut program = limit.start(&[PAGE_PATTERN, "verify", "--mib", "24", "--hold"])?;
        let held: Held = parse(&program.line()?)?;
        let victim = held.evicted.first().context("no page is in swap alone")?;
        let server = swap.server.as_ref().context("no server")?;
        server.flip(victim.slot)?;
        program.say("check")?;
        let output = program.finish(scaled(Duration::from_secs(120))?)?;
        ensure!(output.status == ExitStatus::Code(1), "{}", output.status);
        let verified: Verified = report(&output)?;
        ensure!(verified.corrupt_bytes == 1, "{verified:?}");
        ensure!(
            verified.corrupt.iter().all(|byte| byte.page == victim.page),
            "{verified:?}"
        );
        ensure!(verified.bytes_verified == 24 << 20, "{verified:?}");
        swap.end()
    })
}
