//! Workers reclaim below the limit, so that tasks need not.

use anyhow::{Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::on_cluster;
use rapidswap_tests::setting::Setting;
use rapidswap_tests::swap_area::Backing;

const MIB: u64 = 24;
const LIMIT_MIB: u64 = 12;

/// How often a program at its limit reclaimed by itself, and how many pages
/// workers freed for it.
fn reclaims(swap: &Arrangement<'_>) -> Result<(u64, u64)> {
    let limit = Limit::new(swap.client, LIMIT_MIB)?;
    let before = swap.client.vmstat()?;
    let mib = MIB.to_string();
    let command = [PAGE_PATTERN, "verify", "--mib", &mib, "--order", "random"];
    all_right(&limit.run(&command)?, MIB, 1)?;
    let after = swap.client.vmstat()?;
    Ok((
        after.grown(&before, "rswp_direct")?,
        after.grown(&before, "rswp_offload")?,
    ))
}

#[test]
fn a_task_at_its_limit_seldom_reclaims_by_itself() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let client = swap.client;
        let with = {
            let _on = Setting::knob(client, "sthd_cnt", "2")?;
            reclaims(&swap)?
        };
        let without = {
            let _off = Setting::knob(client, "sthd_cnt", "0")?;
            reclaims(&swap)?
        };
        let no_mark = {
            let _on = Setting::knob(client, "sthd_cnt", "2")?;
            let _none = Setting::knob(client, "fs_headroom", "0")?;
            reclaims(&swap)?
        };
        eprintln!("with {with:?}, without {without:?}, without a mark {no_mark:?}");
        ensure!(without.0 >= 50 && without.1 == 0, "{without:?}");
        ensure!(with.0 * 10 <= without.0 && with.1 > 0, "{with:?}");
        ensure!(no_mark.0 >= 50 && no_mark.1 == 0, "{no_mark:?}");
        let moved = swap.moved()?;
        ensure!(
            moved.store_failures == 0 && moved.disk_writes == 0,
            "{moved}"
        );
        swap.end()
    })
}
