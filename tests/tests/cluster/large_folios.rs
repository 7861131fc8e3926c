//! Folios of several pages leave and come back as one.

use anyhow::{Context, Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::scene::on_cluster;
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
        for order in ORDERS {
            let (out, back) =
                out_and_in(&swap, order).with_context(|| format!("folios of order {order}"))?;
            let folios = PAGES >> order;
            eprintln!("order {order}: {out} out, {back} in, of {folios}");
            ensure!(out >= folios / 2, "order {order}: {out} of {folios} out");
            if ORDERS_IN.contains(&order) {
                ensure!(back >= folios / 2, "order {order}: {back} of {folios} in");
            }
        }
        swap.moved()?.remote_alone(PAGES)?;
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
