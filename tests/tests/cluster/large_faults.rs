//! Large folios whose stores or loads fail in part, or as a whole.

use anyhow::{Context, Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::scene::{Scene, on_cluster};
use rapidswap_tests::setting::{count, only_folios, ram_fault};
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area::Backing;
use rapidswap_tests::vmstat::Moved;

const MIB: u64 = 8;
const PAGES: u64 = MIB * 256;

/// There is room for all of it: what leaves does so on advice.
const ROOMY_MIB: u64 = 16;

/// Has folios of 64 KiB leave with one fault, and come back with another, to a
/// backend of `size_mib` MiB. Every byte is compared.
fn moved(scene: &Scene, size_mib: u64, store_fault: &str, load_fault: &str) -> Result<Moved> {
    // Not a multiple of a folio's pages.
    let (size, every) = (format!("size_mib={size_mib}"), "fault_every=41");
    let swap = Arrangement::ram(scene, &[&size, "deadline_ms=1000", every])?;
    let client = swap.client;
    let fault = |name: &str, fault: &str| ram_fault(client, name, fault);
    let _only = only_folios(client, 4)?;
    let limit = Limit::new(client, ROOMY_MIB)?;
    let mut program = Steps::start(&limit, MIB, Kind::Anonymous)?;
    program.run("huge 0..2048; fill 1 0..2048")?;
    fault("store_fault", store_fault)?;
    for _ in 0..4 {
        program.run("pageout 0..2048; settle")?;
    }
    fault("store_fault", "none")?;
    fault("load_fault", load_fault)?;
    let checked = program.check("check 1 0..2048", PAGES);
    fault("load_fault", "none")?;
    checked?;
    // And nothing of it stays behind.
    program.run("fill 2 0..2048; pageout 0..2048; settle")?;
    program.check("check 2 0..2048", PAGES)?;
    program.end()?;
    let moved = swap.moved()?;
    eprintln!("stores {store_fault}, loads {load_fault}: {moved}");
    drop(limit);
    swap.end()?;
    Ok(moved)
}

#[test]
fn stores_that_fail_in_part() -> Result<()> {
    on_cluster(|scene| {
        for fault in ["fail", "never"] {
            let moved = moved(scene, 64, fault, "none").context(fault)?;
            ensure!(
                moved.store_failures > 0 && moved.load_failures == 0,
                "{fault}: {moved}"
            );
            ensure!(
                moved.disk_writes > 0 && moved.stored > 0,
                "{fault}: {moved}"
            );
        }
        Ok(())
    })
}

/// A folio of which a page cannot be had comes page by page, and each that
/// cannot be had at first is asked for again.
#[test]
fn loads_that_fail_in_part() -> Result<()> {
    on_cluster(|scene| {
        let moved = moved(scene, 64, "none", "fail")?;
        ensure!(moved.load_failures > 0, "{moved}");
        ensure!(moved.store_failures + moved.disk_writes == 0, "{moved}");
        Ok(())
    })
}

/// What the backend has room for in part goes to the device as a whole, and no
/// store fails of it.
#[test]
fn a_backend_that_ends_within_a_folio() -> Result<()> {
    on_cluster(|scene| {
        let moved = moved(scene, 3, "none", "none")?;
        ensure!(moved.stored > 0 && moved.diverted > 0, "{moved}");
        ensure!(moved.store_failures + moved.load_failures == 0, "{moved}");
        Ok(())
    })
}

/// A folio that is larger than its group's limit comes page by page.
#[test]
fn a_limit_smaller_than_a_folio() -> Result<()> {
    const ORDER: u32 = 8;
    const LIMIT_MIB: u64 = 1;
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let client = swap.client;
        let _only = only_folios(client, ORDER)?;
        let limit = Limit::new(client, ROOMY_MIB)?;
        let mut program = Steps::start(&limit, MIB, Kind::Anonymous)?;
        program.run("huge 0..2048; fill 1 0..2048")?;
        let mut came = |limit: &Limit<'_>, mib: u64| -> Result<(u64, u64)> {
            program.run("pageout 0..2048; settle")?;
            limit.set(mib)?;
            let before = (count(client, ORDER, "swpin")?, swap.moved()?.loaded);
            program.check("check 1 0..2048", PAGES)?;
            let after = (count(client, ORDER, "swpin")?, swap.moved()?.loaded);
            Ok((after.0 - before.0, after.1 - before.1))
        };
        let roomy = came(&limit, ROOMY_MIB)?;
        let tight = came(&limit, LIMIT_MIB)?;
        eprintln!("folios and pages that came: {roomy:?}, and {tight:?} with no room");
        ensure!(roomy.0 >= (PAGES >> ORDER) / 2, "{roomy:?}");
        ensure!(tight.0 == 0 && tight.1 >= PAGES / 2, "{tight:?}");
        swap.moved()?.remote_alone(PAGES)?;
        program.end()?;
        drop(limit);
        swap.end()
    })
}
