//! What a fault does with the page that it fetches, and with those around it.

use anyhow::{Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::on_cluster;
use rapidswap_tests::setting::Setting;
use rapidswap_tests::swap_area::Backing;

const MIB: u64 = 24;
const LIMIT_MIB: u64 = 12;
const PAGES: u64 = MIB * 256;

/// A page that is only read keeps its copy: each pass over the memory fetches
/// it again, and drops it again without storing it.
#[test]
fn reading_leaves_the_copy_where_it_is() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let limit = Limit::new(swap.client, LIMIT_MIB)?;
        let before = swap.client.vmstat()?;
        let mib = MIB.to_string();
        let command = [PAGE_PATTERN, "verify", "--mib", &mib, "--passes", "4"];
        all_right(&limit.run(&command)?, MIB, 4)?;
        let after = swap.client.vmstat()?;
        let (stored, loaded) = (
            after.grown(&before, "rswpout")?,
            after.grown(&before, "rswpin")?,
        );
        let (asked, used) = (
            after.grown(&before, "swap_ra")?,
            after.grown(&before, "swap_ra_hit")?,
        );
        eprintln!("{stored} stored, {loaded} loaded, {asked} ahead, {used} of those of use");
        ensure!(loaded >= 3 * PAGES / 2, "{loaded} loaded");
        ensure!(stored <= PAGES * 5 / 4, "{stored} stored");
        // From the first page to the last.
        ensure!(asked >= loaded / 2, "{asked} of {loaded} read ahead");
        ensure!(used * 10 >= asked * 8, "{used} of {asked} were of use");
        drop(limit);
        swap.end()
    })
}

/// A page that is written frees its slot, and need not be in the swap cache
/// for that.
#[test]
fn writing_passes_by_the_swap_cache() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        // Only what was faulted on is looked at here.
        let _none = Setting::new(swap.client, "/proc/sys/vm/page-cluster", "0")?;
        let limit = Limit::new(swap.client, LIMIT_MIB)?;
        let before = swap.client.vmstat()?;
        let arguments = ["--vm", "1", "--vm-bytes", "24M", "--vm-keep"];
        let chosen = ["--vm-method", "write64", "--vm-ops", "50"];
        let output = limit.run(&[&["stress-ng"][..], &arguments, &chosen].concat())?;
        ensure!(output.status.success(), "{output:?}");
        let after = swap.client.vmstat()?;
        let (loaded, past) = (
            after.grown(&before, "rswpin")?,
            after.grown(&before, "rswpin_bypass")?,
        );
        eprintln!("{loaded} loaded, {past} past the swap cache");
        ensure!(loaded >= PAGES / 2, "{loaded} loaded");
        ensure!(past * 10 >= loaded * 9, "{past} of {loaded}");
        drop(limit);
        swap.end()
    })
}
