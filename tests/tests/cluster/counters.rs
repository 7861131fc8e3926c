//! Swap as `up` sets it up, and its counters.

use anyhow::{Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::on_cluster;
use rapidswap_tests::swap_area::{self, Backing};
use rapidswap_vm::swap::{self, SwapOptions};

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

/// What is counted for all is counted for the group that it is of, and for no
/// other.
#[test]
fn a_memory_group_has_counters_of_its_own() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let client = swap.client;
        let busy = Limit::new(client, 8)?;
        let idle = Limit::new(client, 8)?;
        let before = client.vmstat()?;
        all_right(&busy.run(&[PAGE_PATTERN, "verify", "--mib", "16"])?, 16, 1)?;
        let after = client.vmstat()?;
        for (name, at_least) in [
            ("rswpout", 2048),
            ("rswpout_ahead", 1),
            ("rswpin", 1024),
            ("rswp_offload", 1),
        ] {
            let (all, of_group) = (after.grown(&before, name)?, busy.stat(name)?);
            eprintln!("{name}: {of_group} of {all}");
            ensure!(of_group >= at_least, "{name}: {of_group}");
            ensure!(of_group == all, "{name}: {of_group} of {all}");
            ensure!(idle.stat(name)? == 0, "{name} of an idle group");
        }
        drop((busy, idle));
        swap.end()
    })
}
