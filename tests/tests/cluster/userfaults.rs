//! Memory whose faults its program handles itself (userfaultfd).

use anyhow::{Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::scene::on_cluster;
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area::Backing;

const MIB: u64 = 16;
const LIMIT_MIB: u64 = 8;

/// A page that is remote is not missing: the kernel brings it in, and the
/// program is asked for those only that are nowhere.
#[test]
fn a_remote_page_is_not_missing() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let limit = Limit::new(swap.client, LIMIT_MIB)?;
        let mut program = Steps::start(&limit, MIB, Kind::Anonymous)?;
        program.run("fill 1 0..2048; pageout 0..2048; settle")?;
        let swapped = program.run("places 0..2048")?.swapped;
        program.run("handle 2 0..4096")?;
        let first = program.check("check 1 0..2048", 2048)?;
        let second = program.check("check 2 2048..4096", 2048)?;
        // What was given has left in its turn.
        let third = program.check("check 1 0..2048; check 2 2048..4096", 4096)?;
        // What is forgotten is missing.
        let fourth = program.check("dontneed 0..256; check 2 0..256; check 1 256..512", 512)?;
        let missing = [first, second, third, fourth].map(|done| done.missing);
        let moved = swap.moved()?;
        eprintln!("{swapped} out, {missing:?} missing; {moved}");
        ensure!(swapped >= 2048 * 9 / 10, "{swapped} pages out");
        ensure!(missing == [0, 2048, 2048, 2304], "{missing:?} missing");
        moved.remote_alone(2048)?;
        program.end()?;
        drop(limit);
        swap.end()
    })
}

/// A page that is protected is still so when it comes back, for the first
/// write to it.
#[test]
fn a_remote_page_stays_protected() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let limit = Limit::new(swap.client, LIMIT_MIB)?;
        let mut program = Steps::start(&limit, MIB, Kind::Anonymous)?;
        program.run("fill 1 0..4096; handle 2 0..4096")?;
        // Some of it is in memory and some is not, when it is protected.
        program.run("pageout 0..1024; settle; protect 0..2048")?;
        let read = program.check("check 1 0..2048", 2048)?;
        let half = program.check("rewrite 1 3 0..1024", 1024)?;
        program.run("pageout 0..2048; settle")?;
        let whole = program.check("rewrite 1 3 1024..2048", 1024)?;
        // It is asked once.
        let again = program.check("rewrite 3 4 0..2048; check 1 2048..4096", 4096)?;
        program.check("check 4 0..2048", 2048)?;
        let protected = [read, half, whole, again].map(|done| done.protected);
        let moved = swap.moved()?;
        eprintln!("{protected:?} writes allowed; {moved}");
        ensure!(protected == [0, 1024, 2048, 2048], "{protected:?} allowed");
        moved.remote_alone(2048)?;
        program.end()?;
        drop(limit);
        swap.end()
    })
}
