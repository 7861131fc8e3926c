//! Pages leave together, and are freed in the pass of reclaim that they left
//! in.

use anyhow::{Context, Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::median::median;
use rapidswap_tests::remote_module::count;
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::on_cluster;
use rapidswap_tests::setting::no_workers;
use rapidswap_tests::swap_area::Backing;
use rapidswap_tests::trace::Trace;

const MIB: u64 = 16;
const LIMIT_MIB: u64 = 8;

#[test]
fn with_a_depth_of_one_every_store_is_posted_and_completes_alone() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote_with(scene, 64, Backing::Disk, &["store_depth=1"])?;
        let client = swap.client;
        let signals = || -> Result<[u64; 2]> {
            let count = |name| count(client, name);
            Ok([count("store_doorbells")?, count("store_completions")?])
        };
        let before = signals()?;
        let limit = Limit::new(client, LIMIT_MIB)?;
        let mib = MIB.to_string();
        let command = [PAGE_PATTERN, "verify", "--mib", &mib, "--order", "random"];
        all_right(&limit.run(&command)?, MIB, 1)?;
        let after = signals()?;
        let moved = swap.moved()?;
        let of_each = [after[0] - before[0], after[1] - before[1]];
        ensure!(
            of_each == [moved.stored; 2] && moved.stored > 0,
            "{of_each:?} doorbells and completions: {moved}"
        );
        ensure!(
            moved.store_failures == 0 && moved.disk_writes == 0,
            "{moved}"
        );
        drop(limit);
        swap.end()
    })
}

/// As many pages as make a batch.
const BATCH: u64 = 16;

/// A program's pages leave, and what that takes is little.
fn leave_together(swap: &Arrangement<'_>) -> Result<()> {
    let client = swap.client;
    let limit = Limit::new(client, LIMIT_MIB)?;
    let completions = || count(client, "store_completions");
    let before = (client.vmstat()?, completions()?);
    let trace = Trace::of(client, &["remote_swap/remote_swap_batch"])?;
    let mib = MIB.to_string();
    let command = [PAGE_PATTERN, "verify", "--mib", &mib, "--order", "random"];
    all_right(&limit.run(&command)?, MIB, 1)?;
    let sizes = trace.values("nr")?;
    drop(trace);
    let after = (client.vmstat()?, completions()?);
    let stored = after.0.grown(&before.0, "rswpout")?;
    let batches = after.0.grown(&before.0, "rswpout_batch")?;
    let signals = after.1 - before.1;
    let sizes: Vec<f64> = sizes.into_iter().map(|nr| nr as f64).collect();
    let middle = median(&sizes).context("no batch was traced")?;
    eprintln!("{stored} stored in {batches} batches of {middle} (median), {signals} completions");
    ensure!(middle >= BATCH as f64, "batches are small: {middle}");
    ensure!(
        signals * 8 <= stored && stored > 0,
        "{signals} completions, {stored} stores"
    );
    Ok(())
}

#[test]
fn pages_leave_together_whoever_writes_them() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        leave_together(&swap)?;
        let _alone = no_workers(swap.client, false)?;
        leave_together(&swap)?;
        let moved = swap.moved()?;
        ensure!(
            moved.store_failures == 0 && moved.disk_writes == 0,
            "{moved}"
        );
        swap.end()
    })
}

#[test]
fn a_pass_of_reclaim_is_one_batch_and_frees_it() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let client = swap.client;
        // Otherwise its pages would be clean when it comes to them.
        let _alone = no_workers(client, false)?;
        let limit = Limit::new(client, LIMIT_MIB)?;
        let trace = Trace::of(client, &["vmscan/mm_vmscan_lru_shrink_inactive"])?;
        let mib = MIB.to_string();
        let command = [PAGE_PATTERN, "verify", "--mib", &mib, "--order", "random"];
        all_right(&limit.run(&command)?, MIB, 1)?;
        let total = |field: &str| -> Result<u64> { Ok(trace.values(field)?.iter().sum()) };
        let freed = total("nr_reclaimed")?;
        // What was used since it was last looked at is left for another pass.
        let left = total("nr_ref_keep")? + total("nr_activate_anon")?;
        let tried = total("nr_scanned")? - left;
        drop(trace);
        let moved = swap.moved()?;
        eprintln!("{left} left for being in use, {tried} others scanned, {freed} freed; {moved}");
        ensure!(
            freed > 0 && freed * 10 >= tried * 9,
            "{freed} of {tried} freed"
        );
        ensure!(
            moved.store_failures == 0 && moved.disk_writes == 0,
            "{moved}"
        );
        drop(limit);
        swap.end()
    })
}

/// Pages that lie beside each other at the server are one work request, on
/// their way there and back.
#[test]
fn neighbours_travel_together() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let client = swap.client;
        let requests = || -> Result<(u64, u64)> {
            Ok((
                count(client, "store_requests")?,
                count(client, "load_requests")?,
            ))
        };
        let limit = Limit::new(client, LIMIT_MIB)?;
        let before = requests()?;
        let mib = MIB.to_string();
        let command = [PAGE_PATTERN, "verify", "--mib", &mib, "--passes", "3"];
        all_right(&limit.run(&command)?, MIB, 3)?;
        let (after, moved) = (requests()?, swap.moved()?);
        let (writes, reads) = (after.0 - before.0, after.1 - before.1);
        eprintln!("{moved}; {writes} WRITEs, {reads} READs");
        ensure!(writes * 8 <= moved.stored, "{writes} WRITEs: {moved}");
        // The one that a fault waits for goes alone.
        ensure!(reads * 2 <= moved.loaded, "{reads} READs: {moved}");
        drop(limit);
        swap.end()
    })
}
