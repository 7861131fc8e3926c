//! A memory group that fills up at once is reclaimed from, not killed: what the
//! kernel knows of it from its last look, a few seconds ago, is that it is
//! empty.

use anyhow::{Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::kernel_log::Mark;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::scene::on_cluster;
use rapidswap_tests::swap_area::Backing;

/// stress-ng populates 16 MiB of shared memory for itself and 24 MiB for the
/// method; populated pages count as used often from the start.
const POPULATES: [&str; 10] = [
    "stress-ng",
    "--vm",
    "1",
    "--vm-bytes",
    "24M",
    "--vm-keep",
    "--vm-method",
    "ror",
    "--vm-ops",
    "1",
];

/// In one group of three it goes wrong on a kernel that does not look again.
const GROUPS: u32 = 12;

fn fill_new_groups(swap: &Arrangement<'_>) -> Result<()> {
    let mark = Mark::new(swap.client)?;
    for _ in 0..GROUPS {
        let limit = Limit::new(swap.client, 16)?;
        let output = limit.run(&POPULATES)?;
        ensure!(output.status.success(), "{}", output.status);
    }
    let times = mark.count("invoked oom-killer")?;
    ensure!(times == 0, "out of memory {times} times in {GROUPS} groups");
    Ok(())
}

#[test]
fn filled_at_once_from_a_disk() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::disk(scene)?;
        fill_new_groups(&swap)?;
        swap.end()
    })
}

#[test]
fn filled_at_once_from_the_server() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 128, Backing::Disk)?;
        fill_new_groups(&swap)?;
        swap.end()
    })
}
