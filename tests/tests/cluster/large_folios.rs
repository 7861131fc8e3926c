//! Folios of several pages leave and come back as one.

use anyhow::{Context, Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::scene::{Scene, on_cluster};
use rapidswap_tests::setting::{Setting, count, only_folios};
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area::Backing;

const MIB: u64 = 8;
const PAGES: u64 = MIB * 256;

/// There is room for all of it: what leaves does so on advice.
const ROOMY_MIB: u64 = 16;

/// The orders that anonymous memory has, and those that it is swapped in as.
const ORDERS: std::ops::RangeInclusive<u32> = 2..=9;
const ORDERS_IN: std::ops::RangeInclusive<u32> = 2..=8;

/// Pages of one work request at most, of an adapter that takes as many pieces.
const MOST: u64 = 16;

/// Pages of one work request between these nodes.
fn most(scene: &Scene) -> Result<u64> {
    let limits = scene.cluster.parity(&[])?.limits;
    let pieces = limits.iter().find(|limit| limit.attribute == "max_sge");
    Ok(pieces.context("no limit of pieces")?.common.min(MOST))
}

/// Has all memory in folios of one order out and in again, and written in
/// between. Returns how many folios went each way.
fn out_and_in(swap: &Arrangement<'_>, order: u32) -> Result<(u64, u64)> {
    let client = swap.client;
    let _only = only_folios(client, order)?;
    let counts = || -> Result<(u64, u64)> {
        Ok((
            count(client, order, "swpout")?,
            count(client, order, "swpin")?,
        ))
    };
    let before = counts()?;
    let limit = Limit::new(client, ROOMY_MIB)?;
    let mut program = Steps::start(&limit, MIB, Kind::Anonymous)?;
    program.run("huge 0..2048; fill 1 0..2048; pageout 0..2048; settle")?;
    program.check("check 1 0..2048", PAGES)?;
    // What is written is stored anew, and by pages that are not neighbours.
    program.run("fill 2 100..101; fill 2 600..1500; pageout 0..2048; settle")?;
    program.check("check 1 0..100; check 2 100..101; check 1 101..600", 600)?;
    program.check("check 2 600..1500; check 1 1500..2048", 1448)?;
    program.end()?;
    let after = counts()?;
    Ok((after.0 - before.0, after.1 - before.1))
}

#[test]
fn every_order_goes_there_and_comes_back() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let most = most(scene)?;
        let requests = || rapidswap_tests::remote_module::count(swap.client, "store_requests");
        for order in ORDERS {
            let before = requests()?;
            let (out, back) =
                out_and_in(&swap, order).with_context(|| format!("folios of order {order}"))?;
            let folios = PAGES >> order;
            eprintln!("order {order}: {out} out, {back} in, of {folios}");
            ensure!(out >= folios / 2, "order {order}: {out} of {folios} out");
            let requests = requests()? - before;
            eprintln!("{requests} WRITEs");
            // None is of more pages than it takes, nor of less than there are
            // beside each other.
            let pages = out << order;
            let said = || format!("{requests} WRITEs of {pages} pages, {most} at most");
            ensure!(requests * most >= pages, said());
            if order >= 4 {
                let of_most = MOST.div_ceil(most);
                ensure!(requests <= 2 * PAGES / MOST * of_most * 2, said());
            }
            if ORDERS_IN.contains(&order) {
                ensure!(back >= folios / 2, "order {order}: {back} of {folios} in");
            }
        }
        swap.moved()?.remote_alone(PAGES)?;
        swap.end()
    })
}

/// After a fork both have them, and what one writes is no longer the other's.
#[test]
fn a_child_and_its_parent_have_them_in_common() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let client = swap.client;
        let _only = only_folios(client, 4)?;
        let before = count(client, 4, "swpout")?;
        let limit = Limit::new(client, MIB / 2)?;
        let mut program = Steps::start(&limit, MIB, Kind::Anonymous)?;
        program.run("huge 0..2048; fill 1 0..2048")?;
        program.run("child rewrite 1 2 0..1024; check 1 1024..2048; check 2 0..1024")?;
        program.check(
            "rewrite 1 3 512..1536; check 1 0..512; check 1 1536..2048",
            PAGES,
        )?;
        program.check("join", PAGES + 1024)?;
        program.check(
            "check 1 0..512; check 3 512..1536; check 1 1536..2048",
            PAGES,
        )?;
        program.end()?;
        let out = count(client, 4, "swpout")? - before;
        eprintln!("{out} folios out");
        ensure!(out >= PAGES >> 5, "{out} folios out");
        swap.moved()?.remote_alone(PAGES / 2)?;
        drop(limit);
        swap.end()
    })
}

/// A file of a tmpfs that has huge pages goes there as such, and comes back.
#[test]
fn huge_pages_of_a_tmpfs_go_there() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let client = swap.client;
        client.write("/proc/sys/vm/compact_memory", "1")?;
        client.sh("mount -o remount,huge=always /dev/shm")?;
        let before = count(client, 9, "swpout")?;
        let limit = Limit::new(client, ROOMY_MIB)?;
        let mut program = Steps::start(&limit, MIB, Kind::File)?;
        let moved = (|| {
            // Asked to leave is what is mapped.
            program.check("write 1 0..2048; check 1 0..2048", PAGES)?;
            program.run("pageout 0..2048; settle")?;
            program.check("read 1 0..1024; check 1 1024..2048", PAGES)?;
            program.run("write 2 700..800; pageout 0..2048; settle")?;
            program.check("check 1 0..700; check 2 700..800; check 1 800..2048", PAGES)?;
            Ok(count(client, 9, "swpout")? - before)
        })();
        client.sh("mount -o remount,huge=never /dev/shm")?;
        let out: u64 = moved.and_then(|out: u64| program.end().map(|()| out))?;
        eprintln!("{out} huge pages out");
        // Where there was no room for one its pages are small.
        ensure!(out > 0, "no huge page out");
        swap.moved()?.remote_alone(PAGES)?;
        drop(limit);
        swap.end()
    })
}

/// Under a limit, with several sizes to choose from.
#[test]
fn sizes_are_mixed_under_a_limit() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let client = swap.client;
        let _some = [
            Setting::folios(client, 2, true)?,
            Setting::folios(client, 4, true)?,
            Setting::folios(client, 9, true)?,
        ];
        let before = count(client, 4, "swpout")?;
        let limit = Limit::new(client, MIB / 2)?;
        let mut program = Steps::start(&limit, MIB, Kind::Anonymous)?;
        program.run("huge 0..2048; fill 1 0..2048")?;
        program.check("rewrite 1 2 0..1024; check 1 1024..2048", PAGES)?;
        program.check("check 2 0..1024; rewrite 1 3 1024..2048", PAGES)?;
        program.check("check 2 0..1024; check 3 1024..2048", PAGES)?;
        program.end()?;
        let moved = swap.moved()?;
        let of_16 = count(client, 4, "swpout")? - before;
        eprintln!("{of_16} folios of 16 pages out; {moved}");
        moved.remote_alone(PAGES)?;
        drop(limit);
        swap.end()
    })
}
