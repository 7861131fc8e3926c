//! Memory of more than one process.

use anyhow::{Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::scene::on_cluster;
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area::Backing;

const MIB: u64 = 16;
const LIMIT_MIB: u64 = 8;
const PAGES: u64 = MIB * 256;

/// What one process writes the other reads, wherever the page was in between.
#[test]
fn anonymous_memory_that_parent_and_child_share() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let limit = Limit::new(swap.client, LIMIT_MIB)?;
        let mut program = Steps::start(&limit, MIB, Kind::Common)?;
        program.run("fill 1 0..4096")?;

        // Each works on its half at the same time.
        program.run("child rewrite 1 2 0..2048; check 2 0..2048")?;
        program.check("rewrite 1 3 2048..4096; check 3 2048..4096", PAGES)?;
        program.check("join", PAGES)?;

        // Each looks at what the other wrote, and writes it.
        program.run("child rewrite 3 4 2048..4096")?;
        program.check("rewrite 2 5 0..2048", 2048)?;
        program.check("join", 2048)?;

        let all = "check 5 0..2048; check 4 2048..4096";
        program.run(&format!("child {all}"))?;
        program.check(all, PAGES)?;
        program.check("join", PAGES)?;

        let moved = swap.moved()?;
        eprintln!("{moved}");
        moved.remote_alone((MIB - LIMIT_MIB) * 256)?;
        program.end()?;
        drop(limit);
        swap.end()
    })
}

/// Children in all, and at most so many at a time.
const CHILDREN: u64 = 24;
const ALIVE: u64 = 6;

/// What each child looks at, of which it writes the half. Those of neighbours
/// overlap.
const PART: u64 = 512;
const APART: u64 = (PAGES - PART) / (CHILDREN - 1);

#[test]
fn children_of_a_parent_whose_memory_is_out() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 128, Backing::Disk)?;
        let limit = Limit::new(swap.client, LIMIT_MIB)?;
        let mut program = Steps::start(&limit, MIB, Kind::Anonymous)?;
        program.run("fill 1 0..4096; pageout 0..4096; settle")?;
        let swapped = program.run("places 0..4096")?.swapped;
        for child in 0..CHILDREN {
            if child >= ALIVE {
                program.check("join", 2 * PART)?;
            }
            let (seed, start) = (child + 2, child * APART);
            let (middle, end) = (start + PART / 2, start + PART);
            program.run(&format!(
                "child check 1 {middle}..{end}; rewrite 1 {seed} {start}..{middle}; \
                 check {seed} {start}..{middle}; check 1 {middle}..{end}"
            ))?;
        }
        for _ in 0..ALIVE {
            program.check("join", 2 * PART)?;
        }
        program.check("check 1 0..4096", PAGES)?;

        let moved = swap.moved()?;
        eprintln!("{swapped} out at the beginning; {moved}");
        ensure!(swapped >= PAGES * 9 / 10, "{swapped} pages out");
        moved.remote_alone(PAGES)?;
        program.end()?;
        drop(limit);
        swap.end()
    })
}
