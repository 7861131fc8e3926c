//! An adapter that has no address for a page, or does not take a list. Soft-RoCE
//! never says so: the functions that ask it are made to.

use anyhow::{Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::failing::Failing;
use rapidswap_tests::kernel_log::Mark;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::remote_module::{CONNECT, count, wait_for_state};
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::{Scene, on_cluster, scaled};
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area::Backing;
use rapidswap_tests::vmstat::Moved;
use rapidswap_tests::wait::wait_until;

const MIB: u64 = 24;
const LIMIT_MIB: u64 = 12;

const MAP: &str = "remoteswap_shim_map_error";
const POST: &str = "remoteswap_shim_post_send";
const END: &str = "remoteswap_shim_to_error";

/// What a program moved, and how many sessions it took, while each call of
/// `functions` whose number is a multiple of `every` failed, for `times` times.
/// The program has all its bytes.
fn moved_while(scene: &Scene, functions: &[&str], every: u64, times: u64) -> Result<(Moved, u64)> {
    let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
    let client = swap.client;
    let limit = Limit::new(client, LIMIT_MIB)?;
    let before = count(client, "sessions")?;
    let failing = Failing::new(client, functions, every, times)?;
    let output = limit.run(&[PAGE_PATTERN, "verify", "--mib", &MIB.to_string()]);
    let failed = failing.count()?;
    drop(failing);
    all_right(&output?, MIB, 1)?;
    wait_for_state(client, "up", scaled(CONNECT)?)?;
    let sessions = count(client, "sessions")? - before;
    let moved = swap.moved()?;
    eprintln!("{failed} times, {sessions} sessions more: {moved}");
    ensure!(failed == times, "it failed {failed} times");
    ensure!(moved.stored > 0 && moved.loaded > 0, "{moved}");
    ensure!(moved.load_failures + moved.lost == 0, "{moved}");
    drop(limit);
    swap.end()?;
    Ok((moved, sessions))
}

/// A store goes to the disk, and a load is tried again.
#[test]
fn a_page_that_cannot_be_mapped_costs_no_session() -> Result<()> {
    on_cluster(|scene| {
        let (moved, sessions) = moved_while(scene, &[MAP], 50, 60)?;
        ensure!(moved.diverted > 0 && moved.store_failures == 0, "{moved}");
        ensure!(sessions == 0, "{sessions} sessions more");
        Ok(())
    })
}

/// Whether the adapter would take the next one nobody can tell, so that the
/// session ends; its pages are to be had all the same.
#[test]
fn a_list_that_is_refused_costs_a_session_and_no_page() -> Result<()> {
    on_cluster(|scene| {
        let (_, sessions) = moved_while(scene, &[POST], 40, 3)?;
        ensure!(sessions > 0, "the session stayed");
        Ok(())
    })
}

/// Where it cannot be told that this is the end either, its queue pairs are
/// destroyed before any page is anybody else's.
#[test]
fn queue_pairs_that_cannot_be_ended_are_destroyed() -> Result<()> {
    const PAGES: u64 = 2048;
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let client = swap.client;
        let limit = Limit::new(client, LIMIT_MIB)?;
        let mut program = Steps::start(&limit, PAGES / 256, Kind::Anonymous)?;
        program.run(&format!("fill 1 0..{PAGES}; pageout 0..{PAGES}; settle"))?;
        let (before, mark) = (count(client, "sessions")?, Mark::new(client)?);
        // Of loads, of signs of life and of stores at most, and then of an end.
        let failing = Failing::new(client, &[POST, END], 1, 4)?;
        program.check(&format!("check 1 0..{PAGES}"), PAGES)?;
        ensure!(failing.count()? == 4, "{} times", failing.count()?);
        drop(failing);
        program.end()?;
        let moved = swap.moved()?;
        eprintln!("{moved}");
        ensure!(moved.loaded >= PAGES, "{moved}");
        ensure!(moved.load_failures + moved.lost == 0, "{moved}");
        ensure!(count(client, "sessions")? > before, "the session stayed");
        ensure!(mark.count("could not be ended")? > 0, "they were ended");
        drop(limit);
        swap.end()
    })
}

/// Nobody has to need a page for the module to find out.
#[test]
fn a_sign_of_life_that_is_refused_ends_the_session() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 16, Backing::Disk)?;
        let before = count(swap.client, "sessions")?;
        let failing = Failing::new(swap.client, &[POST], 1, 1)?;
        wait_until("another session", scaled(CONNECT)?, || {
            Ok((count(swap.client, "sessions")? > before).then_some(()))
        })?;
        ensure!(failing.count()? == 1, "nothing was refused");
        drop(failing);
        swap.end()
    })
}
