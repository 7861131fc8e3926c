//! What a program advises of pages that are remote (`madvise(2)`).

use std::time::Duration;

use anyhow::{Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::scene::{Scene, on_cluster, scaled};
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area::{self, Backing};
use rapidswap_tests::wait::wait_until;

/// The programs' memory, and a limit with room for all of it: what leaves does
/// so on advice.
const MIB: u64 = 16;
const ROOMY_MIB: u64 = 24;
const PAGES: u64 = MIB * 256;

/// Of so many pages that are asked to leave, some stay: those that reclaim
/// finds in use at that moment.
fn most(pages: u64) -> u64 {
    pages * 9 / 10
}

/// Pages out on advice, and half of them in again ahead of their use.
fn out_and_in(scene: &Scene, kind: Kind) -> Result<()> {
    let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
    let limit = Limit::new(swap.client, ROOMY_MIB)?;
    let mut program = Steps::start(&limit, MIB, kind)?;
    program.run("fill 1 0..4096; pageout 0..4096; settle")?;
    let resident = program.run("places 0..4096")?.resident;
    ensure!(resident <= PAGES - most(PAGES), "{resident} pages stayed");

    program.run("willneed 0..2048")?;
    wait_until("the pages", scaled(Duration::from_secs(20))?, || {
        let resident = program.run("places 0..2048")?.resident;
        Ok((resident == 2048).then_some(()))
    })?;
    let ahead = swap.moved()?.loaded;
    program.check("check 1 0..2048", 2048)?;
    let after = swap.moved()?.loaded;
    ensure!(after == ahead, "{} pages loaded again", after - ahead);
    program.check("check 1 2048..4096", 2048)?;

    let moved = swap.moved()?;
    eprintln!("{kind}: {resident} stayed, {ahead} loaded ahead; {moved}");
    ensure!(ahead >= most(2048), "{ahead} pages loaded ahead");
    moved.remote_alone(most(PAGES))?;
    program.end()?;
    drop(limit);
    swap.end()
}

#[test]
fn pages_of_a_program_leave_and_come_ahead() -> Result<()> {
    on_cluster(|scene| out_and_in(scene, Kind::Anonymous))
}

#[test]
fn pages_of_a_file_leave_and_come_ahead() -> Result<()> {
    on_cluster(|scene| out_and_in(scene, Kind::File))
}

/// Pages that are not needed are zero, and so is what is left of them in swap.
#[test]
fn what_is_not_needed_frees_its_slots() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let limit = Limit::new(swap.client, ROOMY_MIB)?;
        let mut program = Steps::start(&limit, MIB, Kind::Anonymous)?;
        program.run("fill 1 0..4096; pageout 0..4096; settle")?;
        let swapped = program.run("places 0..2048")?.swapped;
        let used = swap_area::used(swap.client)?;
        program.run("dontneed 0..2048")?;
        let left = swap_area::used(swap.client)?;
        ensure!(left + most(swapped) <= used, "{left} of {used} slots left");

        let loaded = swap.moved()?.loaded;
        program.check("check zero 0..2048", 2048)?;
        ensure!(swap.moved()?.loaded == loaded, "what was forgotten came in");
        // Slots that are used again hold the new pages.
        program.run("fill 2 0..2048; pageout 0..2048; settle")?;
        program.check("check 2 0..2048; check 1 2048..4096", PAGES)?;

        let moved = swap.moved()?;
        eprintln!("{swapped} out, slots {used} and then {left}; {moved}");
        ensure!(swapped >= most(2048), "{swapped} pages out");
        moved.remote_alone(most(PAGES))?;
        program.end()?;
        drop(limit);
        swap.end()
    })
}

/// A page that may be freed is whole or zero, and what is written to it after
/// that stays.
#[test]
fn what_may_be_freed_is_whole_or_zero() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let limit = Limit::new(swap.client, ROOMY_MIB)?;
        let mut program = Steps::start(&limit, MIB, Kind::Anonymous)?;
        // The first quarter is out when it is given up, the second is not.
        program.run("fill 1 0..4096; pageout 0..1024; settle")?;
        let swapped = program.run("places 0..1024")?.swapped;
        ensure!(swapped >= most(1024), "{swapped} pages out");
        program.run("free 0..2048; fill 2 512..768; fill 2 1536..1792")?;
        limit.set(4)?;

        program.check("check 2 512..768; check 2 1536..1792", 512)?;
        let given = "either 1 0..512; either 1 768..1536; either 1 1792..2048";
        let zero = program.check(given, 1536)?.zero_pages;
        program.check("check 1 2048..4096", 2048)?;

        let moved = swap.moved()?;
        eprintln!("{swapped} out, {zero} of 1536 zero; {moved}");
        // Those that were out have no copy left; memory being short, others
        // have none either.
        ensure!(zero > swapped * 3 / 4, "{zero} pages are zero");
        moved.remote_alone(1024)?;
        program.end()?;
        drop(limit);
        swap.end()
    })
}
