//! A backend that has an area declines the next one, which is then swapped to
//! its device as if there were no backend.

use anyhow::{Context, Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::kernel_log::Mark;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::ram_disk::{self, RAM_DISK};
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::on_cluster;
use rapidswap_tests::setting::REMOTE_SWAP;
use rapidswap_tests::swap_area::{self, Backing};
use rapidswap_tests::vmstat::Moved;

const MIB: u64 = 16;
const LIMIT_MIB: u64 = 8;

/// Pages that cannot have stayed.
const OUT: u64 = (MIB - LIMIT_MIB) * 256;

/// Checks all memory under a limit, and says where its pages went.
fn verified(swap: &Arrangement<'_>) -> Result<Moved> {
    let before = swap.client.vmstat()?;
    let limit = Limit::new(swap.client, LIMIT_MIB)?;
    let mib = MIB.to_string();
    all_right(
        &limit.run(&[PAGE_PATTERN, "verify", "--mib", &mib])?,
        MIB,
        1,
    )?;
    let moved = swap.client.vmstat()?.since(&before);
    moved.context("no counters of remote swap")
}

/// Asks a backend for a second area, which is used before the first one, and
/// again when the first one is gone.
fn a_second_area(swap: Arrangement<'_>, backend: &str) -> Result<()> {
    let client = swap.client;
    ram_disk::make(client, 2 * MIB)?;
    client.ok(&["mkswap", RAM_DISK])?;
    client.write(&format!("{REMOTE_SWAP}/area"), RAM_DISK)?;
    let mark = Mark::new(client)?;
    client.ok(&["swapon", "--priority", "10", RAM_DISK])?;
    let lines = mark.since()?;
    let busy = format!("backend {backend} declined the area: error -16");
    let told = lines.iter().filter(|line| line.contains(&busy)).count();
    ensure!(told == 1, "the kernel's log says {lines:?}");
    ensure!(swap_area::attached(client)? == 1, "the first is gone");

    let moved = verified(&swap)?;
    eprintln!("{backend}, declined: {moved}");
    ensure!(moved.stored + moved.loaded + moved.diverted == 0, "{moved}");
    ensure!(moved.disk_writes >= OUT && moved.disk_reads > 0, "{moved}");

    swap_area::off(client, RAM_DISK)?;
    swap_area::off(client, &swap.area)?;
    swap_area::on(client, RAM_DISK, true)?;
    let moved = verified(&swap)?;
    eprintln!("{backend}, accepted: {moved}");
    // What finds no free request of the backend goes to the device.
    ensure!(moved.stored >= OUT / 2 && moved.loaded > 0, "{moved}");
    swap.end()?;
    ram_disk::remove(client)
}

#[test]
fn a_second_area_of_the_module() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        a_second_area(swap, "remoteswap")
    })
}

#[test]
fn a_second_area_of_the_ram_backend() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::ram(scene, &["size_mib=64"])?;
        a_second_area(swap, "ram")
    })
}
