//! Pages that the kernel has merged, since they hold the same: one page of them
//! leaves, and each of them comes back.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::guest::Guest;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::scene::{on_cluster, scaled};
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area::{self, Backing};
use rapidswap_tests::wait::wait_until;

const KSM: &str = "/sys/kernel/mm/ksm";

/// Three times the same 8 MiB.
const MIB: u64 = 24;
const PAGES: u64 = MIB * 256;
const DISTINCT: u64 = PAGES / 3;

/// Room for all pages, for a half of the merged ones, and for a half of all.
const ROOMY_MIB: u64 = 40;
const TIGHT_MIB: u64 = 4;
const HALF_MIB: u64 = 12;

fn ksm(guest: &Guest, name: &str, value: u64) -> Result<()> {
    guest.write(&format!("{KSM}/{name}"), &value.to_string())
}

/// Pages that others stand for.
fn sharing(guest: &Guest) -> Result<u64> {
    Ok(guest
        .read(&format!("{KSM}/pages_sharing"))?
        .trim()
        .parse()?)
}

/// Waits for a number of them, which the scan brings up to date as it passes.
fn sharing_is(guest: &Guest, expected: Range<u64>) -> Result<()> {
    wait_until("merged pages", scaled(Duration::from_secs(60))?, || {
        Ok(expected.contains(&sharing(guest)?).then_some(()))
    })
}

/// Fills memory, has it merged, and sees half of what is left leave.
fn merged<'a>(swap: &Arrangement<'a>) -> Result<(Limit<'a>, Steps)> {
    let client = swap.client;
    let limit = Limit::new(client, ROOMY_MIB)?;
    let mut program = Steps::start(&limit, MIB, Kind::Anonymous)?;
    program.run("fill 1/2048 0..6144; mergeable 0..6144")?;
    ksm(client, "pages_to_scan", PAGES)?;
    ksm(client, "sleep_millisecs", 10)?;
    ksm(client, "run", 1)?;
    out(swap, &limit, &mut program)?;
    Ok((limit, program))
}

/// Waits until all are merged, and sees half of what is left leave.
fn out(swap: &Arrangement<'_>, limit: &Limit<'_>, program: &mut Steps) -> Result<()> {
    let client = swap.client;
    sharing_is(client, (PAGES - DISTINCT) * 95 / 100..PAGES)?;
    limit.set(TIGHT_MIB)?;
    let used = swap_area::used(client)?;
    let swapped = program.run("places 0..6144")?.swapped;
    eprintln!("{swapped} pages out, in {used} slots");
    ensure!(swapped >= PAGES / 3, "{swapped} pages out");
    // Few pages have a slot of their own besides.
    let most = DISTINCT + PAGES / 20;
    ensure!(used <= most, "{used} slots for {swapped} pages");
    Ok(())
}

/// Back to what a node boots with.
fn end(swap: Arrangement<'_>, limit: Limit<'_>, program: Steps) -> Result<()> {
    program.end()?;
    drop(limit);
    let client = swap.client;
    for (name, value) in [
        ("run", 2),
        ("run", 0),
        ("pages_to_scan", 100),
        ("sleep_millisecs", 20),
    ] {
        ksm(client, name, value)?;
    }
    let moved = swap.moved()?;
    eprintln!("{moved}");
    moved.remote_alone(DISTINCT / 2)?;
    swap.end()
}

/// What is written to one of them is not written to the others, wherever they
/// are, while the kernel goes on to merge.
#[test]
fn a_write_is_to_one_page_only() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 96, Backing::Disk)?;
        let (limit, mut program) = merged(&swap)?;
        limit.set(HALF_MIB)?;
        program.check("rewrite 1/2048 2 0..2048", 2048)?;
        program.check("check 2 0..2048; check 1/2048 2048..6144", PAGES)?;
        // Of the two that are left, those of the first half now differ.
        program.check("rewrite 1/2048 3 4096..5120", 1024)?;
        program.check("check 1/2048 2048..4096; check 3 4096..5120", 3072)?;
        program.check("check 2 0..2048; check 1/2048 5120..6144", 3072)?;
        end(swap, limit, program)
    })
}

/// Pages that are parted while some of them are out, by their program and then
/// by the administrator.
#[test]
fn merged_pages_are_parted() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 96, Backing::Disk)?;
        let (limit, mut program) = merged(&swap)?;
        let client = swap.client;
        limit.set(ROOMY_MIB)?;
        program.run("unmergeable 0..6144")?;
        sharing_is(client, 0..1)?;
        program.check("check 1/2048 0..6144", PAGES)?;

        program.run("mergeable 0..6144")?;
        out(&swap, &limit, &mut program)?;
        limit.set(ROOMY_MIB)?;
        ksm(client, "run", 2)?;
        ensure!(sharing(client)? == 0, "pages are still merged");
        program.check("rewrite 1/2048 2 0..3072; check 1/2048 3072..6144", PAGES)?;
        program.check("check 2 0..3072", 3072)?;
        end(swap, limit, program)
    })
}
