//! Swap as `up` sets it up, and its counters.

use std::time::Duration;

use anyhow::{Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::{on_cluster, scaled};
use rapidswap_tests::setting::no_workers;
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area::{self, Backing};
use rapidswap_tests::vmstat::Vmstat;
use rapidswap_tests::wait::wait_until;
use rapidswap_vm::swap::{self, SwapOptions};

/// How long pages may take to go to the backend again.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn the_librarys_own_swap_moves_and_counts_pages() -> Result<()> {
    on_cluster(|scene| {
        swap_area::clear(&scene.client)?;
        swap::on(&scene.cluster, &SwapOptions::default())?;
        ensure!(swap_area::attached(&scene.client)? == 1);
        let before = swap::counters(&scene.client.node)?;
        let limit = Limit::new(&scene.client, 8)?;
        all_right(&limit.run(&[PAGE_PATTERN, "verify", "--mib", "16"])?, 16, 1)?;
        let after = swap::counters(&scene.client.node)?;
        ensure!(after.pages_stored > before.pages_stored);
        ensure!(after.pages_loaded > before.pages_loaded && after.device_out == before.device_out);
        swap::off(&scene.cluster)?;
        ensure!(swap_area::attached(&scene.client)? == 0);
        Ok(())
    })
}

/// What is counted for all since `before` is counted for the group that it is
/// of, and for no other.
fn counted(
    [busy, idle]: [&Limit<'_>; 2],
    (before, after): (&Vmstat, &Vmstat),
    counters: &[(&str, u64)],
) -> Result<()> {
    for (name, at_least) in counters {
        let (all, of_group) = (after.grown(before, name)?, busy.stat(name)?);
        eprintln!("{name}: {of_group} of {all}");
        ensure!(of_group >= *at_least, "{name}: {of_group}");
        ensure!(of_group == all, "{name}: {of_group} of {all}");
        ensure!(idle.stat(name)? == 0, "{name} of an idle group");
    }
    Ok(())
}

/// What fails, what a task does by itself, and what is written to.
#[test]
fn a_memory_group_has_counters_of_what_is_not_as_usual() -> Result<()> {
    on_cluster(|scene| {
        let faults = ["size_mib=64", "store_fault=fail", "fault_every=3"];
        let swap = Arrangement::ram(scene, &faults)?;
        let client = swap.client;
        let _alone = no_workers(client, false)?;
        let busy = Limit::new(client, 4)?;
        let idle = Limit::new(client, 4)?;
        let before = client.vmstat()?;
        let mut program = Steps::start(&busy, 8, Kind::Anonymous)?;
        program.run("fill 1 0..2048")?;
        let fault = "/sys/module/remote_swap_ram/parameters/store_fault";
        client.write(fault, "none")?;
        // Stores begin again a second after the last one that failed.
        wait_until("pages past the swap cache", scaled(PATIENCE)?, || {
            program.run("fill 1 0..2048")?;
            Ok((busy.stat("rswpin_bypass")? > 256).then_some(()))
        })?;
        let counters = [
            ("rswpin_bypass", 256),
            ("rswp_direct", 1),
            ("rswpout_fail", 1),
            ("rswpout_disk", 1),
        ];
        counted([&busy, &idle], (&before, &client.vmstat()?), &counters)?;
        program.check("check 1 0..2048", 2048)?;
        program.end()?;
        drop((busy, idle));
        swap.end()
    })
}

#[test]
fn a_memory_group_has_counters_of_its_own() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let client = swap.client;
        let busy = Limit::new(client, 8)?;
        let idle = Limit::new(client, 8)?;
        let before = client.vmstat()?;
        all_right(&busy.run(&[PAGE_PATTERN, "verify", "--mib", "16"])?, 16, 1)?;
        swap.settled()?;
        let after = client.vmstat()?;
        let counters = [
            ("rswpout", 2048),
            ("rswpout_ahead", 1),
            ("rswpin", 1024),
            ("rswp_offload", 1),
            ("swap_ra", 512),
            ("swap_ra_hit", 256),
        ];
        counted([&busy, &idle], (&before, &after), &counters)?;
        drop((busy, idle));
        swap.end()
    })
}
