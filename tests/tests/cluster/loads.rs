//! What a fault does with the page that it fetches, and with those around it.

use anyhow::{Context, Result, bail, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::on_cluster;
use rapidswap_tests::setting::{PAGE_CLUSTER, Setting, no_workers};
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area::Backing;
use rapidswap_tests::trace::{Event, Trace};

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

/// Where a program begins to read, far from each other, and for how many pages.
const BEGINNINGS: [u64; 4] = [100, 700, 1300, 1900];
const READ: u64 = 128;

/// What a fault waits for is asked for before what else it does: before
/// reclaim makes room for the page, and before the pages around it.
#[test]
fn the_page_of_a_fault_is_asked_for_first() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let client = swap.client;
        let _alone = no_workers(client, false)?;
        let limit = Limit::new(client, LIMIT_MIB)?;
        let mut program = Steps::start(&limit, MIB, Kind::Anonymous)?;
        // The second half fills the memory that there is.
        program.run("fill 1 0..3072; pageout 0..3072; settle; fill 1 3072..6144; settle")?;
        let (mut with_reclaim, mut with_others) = (0, 0);
        for page in BEGINNINGS {
            let place = program.run(&format!("places {page}..{}", page + 1))?;
            let slot = place.first_slot.context("the page is not in swap")?;
            let trace = Trace::of(
                client,
                &[
                    "remote_swap/remote_swap_load",
                    "vmscan/mm_vmscan_memcg_reclaim_begin",
                ],
            )?;
            program.check(&format!("check 1 {page}..{}", page + READ), READ)?;
            let events = trace.events()?;
            drop(trace);
            let events = events
                .iter()
                .filter(|event| event.task.starts_with("page-pattern"));
            let events: Vec<&Event> = events.collect();
            let Some((first, others)) = events.split_first() else {
                bail!("page {page} came without a load");
            };
            ensure!(
                first.name == "remote_swap_load" && first.value("slot") == Some(slot),
                "page {page}, slot {slot}: {events:?}"
            );
            let loads = others
                .iter()
                .filter(|event| event.name == "remote_swap_load")
                .count();
            with_others += u32::from(loads > 0);
            with_reclaim += u32::from(loads < others.len());
        }
        eprintln!("{with_reclaim} faults reclaimed, {with_others} read ahead");
        ensure!(
            with_reclaim > 0 && with_others > 0,
            "{with_reclaim}, {with_others}"
        );
        program.end()?;
        drop(limit);
        swap.end()
    })
}

/// Where what was read ahead was of no use, no more of it is begun when the
/// page itself is there: with a backend that takes no time, next to nothing.
#[test]
fn reading_ahead_at_random_ends_with_the_load() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::ram(scene, &["size_mib=64"])?;
        let client = swap.client;
        let ahead = |order: &str| -> Result<(u64, u64)> {
            let limit = Limit::new(client, LIMIT_MIB)?;
            let before = client.vmstat()?;
            let mib = MIB.to_string();
            let command = [PAGE_PATTERN, "verify", "--mib", &mib, "--order", order];
            all_right(&limit.run(&command)?, MIB, 1)?;
            let after = client.vmstat()?;
            let grown = |name| after.grown(&before, name);
            Ok((grown("swap_ra")?, grown("rswpin")?))
        };
        let (random, sequential) = (ahead("random")?, ahead("sequential")?);
        eprintln!("ahead and in all: at random {random:?}, in order {sequential:?}");
        ensure!(
            random.1 > PAGES / 4 && random.0 * 20 <= random.1,
            "{random:?}"
        );
        ensure!(sequential.0 * 2 >= sequential.1, "{sequential:?}");
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
        let _none = Setting::new(swap.client, PAGE_CLUSTER, "0")?;
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
