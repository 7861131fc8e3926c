//! A limit that changes while a program works.

use std::time::Duration;

use anyhow::{Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::scene::{on_cluster, scaled};
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area::{self, Backing};
use rapidswap_tests::wait::wait_until;
use rapidswap_vm::Size;

const MIB: u64 = 16;
const PAGES: u64 = MIB * 256;

/// From one limit to the next, so that the program is at another place of its
/// memory each time.
const MOVES: u64 = 1500;

#[test]
fn a_limit_is_lowered_and_removed_under_a_program() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let limit = Limit::new(swap.client, 12)?;
        let mut program = Steps::start(&limit, MIB, Kind::Anonymous)?;
        program.run("fill 1 0..4096")?;
        program.begin("repeat rewrite 1 2 0..4096; rewrite 2 1 0..4096")?;
        let time = scaled(Duration::from_secs(60))?;
        for lower in [6, 3] {
            limit.set(lower)?;
            let usage = limit.usage()?;
            ensure!(usage <= Size::from_mib(lower), "{usage} under {lower}M");
            program.moves(&swap, MOVES)?;
            limit.lift()?;
            wait_until("all of it in memory", time, || {
                program.still_runs()?;
                Ok((limit.usage()? >= Size::from_mib(MIB)).then_some(()))
            })?;
        }
        let done = program.stop()?;
        done.right(done.rounds * 2 * PAGES)?;
        program.check("check 1 0..4096", PAGES)?;
        let moved = swap.moved()?;
        eprintln!("{} rounds; {moved}", done.rounds);
        moved.remote_alone(2 * MOVES)?;
        program.end()?;
        drop(limit);
        swap.end()
    })
}

/// Reclaim is not to go by statistics of a cgroup that are seconds old: by
/// them the inactive pages that it has just freed are still there, and it takes
/// none of the active ones. What is refused then is here a lower limit.
#[test]
fn a_limit_is_lowered_without_asking_again_and_again() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let client = swap.client;
        let limit = Limit::new(client, 8)?;
        let mut program = Steps::start(&limit, MIB, Kind::File)?;
        program.run("fill 1 0..4096")?;
        program.begin("repeat rewrite 1 2 0..4096; rewrite 2 1 0..4096")?;
        let mut tries = Vec::new();
        for _ in 0..10 {
            limit.lift()?;
            swap_area::off(client, &swap.area)?;
            let time = scaled(Duration::from_secs(60))?;
            wait_until("all of it in memory", time, || {
                program.still_runs()?;
                Ok((limit.usage()? >= Size::from_mib(MIB)).then_some(()))
            })?;
            swap_area::on(client, &swap.area, true)?;
            tries.push(limit.set(8)?);
        }
        limit.lift()?;
        let done = program.stop()?;
        done.right(done.rounds * 2 * PAGES)?;
        let moved = swap.moved()?;
        eprintln!("asked {tries:?} times; {moved}");
        moved.remote_alone(MOVES)?;
        // The second time the kernel has looked again.
        ensure!(
            tries.iter().all(|tries| *tries <= 2),
            "asked {tries:?} times"
        );
        program.end()?;
        drop(limit);
        swap.end()
    })
}
