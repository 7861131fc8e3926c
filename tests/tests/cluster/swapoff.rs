//! Swap is turned off and on while a program works on what is in it.

use anyhow::{Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::scene::{Scene, on_cluster};
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area::{self, Backing};

const MIB: u64 = 16;
const LIMIT_MIB: u64 = 8;
const PAGES: u64 = MIB * 256;
const TIMES: u64 = 3;

/// Pages that move before swap is turned off each time.
const MOVES: u64 = 1500;

/// What the memory, and the program itself, just fit in: workers want to
/// reclaim to the end.
const FITS_MIB: u64 = MIB + 2;

fn under_load(scene: &Scene, kind: Kind, room: Option<u64>) -> Result<()> {
    let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
    let client = swap.client;
    let limit = Limit::new(client, LIMIT_MIB)?;
    let mut program = Steps::start(&limit, MIB, kind)?;
    program.run("fill 1 0..4096")?;
    program.begin("repeat rewrite 1 2 0..4096; rewrite 2 1 0..4096")?;
    for _ in 0..TIMES {
        limit.set(LIMIT_MIB)?;
        program.moves(&swap, MOVES)?;
        let used = swap_area::used(client)?;
        // Room for what comes back.
        match room {
            Some(mib) => drop(limit.set(mib)?),
            None => limit.lift()?,
        }
        swap_area::off(client, &swap.area)?;
        program.still_runs()?;
        ensure!(
            swap_area::attached(client)? == 0,
            "the area is still attached"
        );
        ensure!(used >= PAGES / 4, "{used} slots were used");
        swap_area::on(client, &swap.area, true)?;
    }
    let done = program.stop()?;
    done.right(done.rounds * 2 * PAGES)?;
    program.check("check 1 0..4096", PAGES)?;
    let moved = swap.moved()?;
    eprintln!("{kind}: {} rounds; {moved}", done.rounds);
    moved.remote_alone(TIMES * MOVES)?;
    program.end()?;
    drop(limit);
    swap.end()
}

#[test]
fn under_a_program_that_writes_its_memory() -> Result<()> {
    on_cluster(|scene| under_load(scene, Kind::Anonymous, None))
}

#[test]
fn under_a_program_whose_limit_just_fits() -> Result<()> {
    on_cluster(|scene| under_load(scene, Kind::Anonymous, Some(FITS_MIB)))
}

#[test]
fn under_a_program_that_writes_a_file() -> Result<()> {
    on_cluster(|scene| under_load(scene, Kind::File, None))
}
