//! Swap as `up` sets it up, and its counters.

use anyhow::{Result, ensure};
use rapidswap_tests::limit::Limit;
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::on_cluster;
use rapidswap_tests::swap_area;
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
