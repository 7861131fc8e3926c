//! Memory that a program locks (`mlock(2)`) after it was paged out.

use anyhow::{Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::scene::on_cluster;
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area::Backing;

/// A quarter of it is locked.
const MIB: u64 = 16;
const LIMIT_MIB: u64 = 8;
const LOCKED: u64 = 1024;
const OTHERS: u64 = MIB * 256 - LOCKED;

#[test]
fn comes_in_and_stays_until_it_is_unlocked() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let limit = Limit::new(swap.client, LIMIT_MIB)?;
        let mut program = Steps::start(&limit, MIB, Kind::Anonymous)?;
        program.run("fill 1 0..4096; pageout 0..1024; settle")?;
        let out = program.run("places 0..1024")?.swapped;
        let before = swap.moved()?.loaded;
        program.run("lock 0..1024")?;
        let came = swap.moved()?.loaded - before;
        ensure!(out >= LOCKED * 9 / 10, "{out} pages out");
        ensure!(came >= out, "{came} of {out} pages came in");

        program.check("rewrite 1 2 1024..4096", OTHERS)?;
        program.check("rewrite 2 3 1024..4096", OTHERS)?;
        let places = program.run("places 0..1024")?;
        ensure!(places.resident == LOCKED, "locked pages left: {places:?}");

        program.run("unlock 0..1024")?;
        program.check("rewrite 3 4 1024..4096", OTHERS)?;
        program.check("rewrite 4 5 1024..4096", OTHERS)?;
        let left = program.run("places 0..1024")?.swapped;
        program.check("check 1 0..1024; check 5 1024..4096", LOCKED + OTHERS)?;

        let moved = swap.moved()?;
        eprintln!("{out} out, {came} came in, {left} left again; {moved}");
        ensure!(left >= LOCKED / 2, "{left} pages left when unlocked");
        moved.remote_alone(OTHERS)?;
        program.end()?;
        drop(limit);
        swap.end()
    })
}
