//! Pages are clean before reclaim comes to them.

use std::time::Duration;

use anyhow::{Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::{on_cluster, scaled};
use rapidswap_tests::setting::Setting;
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area::Backing;
use rapidswap_tests::wait::wait_until;

const MIB: u64 = 24;
const LIMIT_MIB: u64 = 12;

/// Pages stored ahead of reclaim, and all that were stored, by a program that
/// touches all of its memory once more than its limit has room for.
fn stored(swap: &Arrangement<'_>) -> Result<(u64, u64)> {
    let limit = Limit::new(swap.client, LIMIT_MIB)?;
    let before = swap.client.vmstat()?;
    let mib = MIB.to_string();
    all_right(
        &limit.run(&[PAGE_PATTERN, "verify", "--mib", &mib])?,
        MIB,
        1,
    )?;
    let after = swap.client.vmstat()?;
    Ok((
        after.grown(&before, "rswpout_ahead")?,
        after.grown(&before, "rswpout")?,
    ))
}

#[test]
fn most_of_what_reclaim_frees_was_written_before() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let with = stored(&swap)?;
        let without = {
            let _off = Setting::knob(swap.client, "write_ahead", "0")?;
            stored(&swap)?
        };
        eprintln!("ahead and in all: {with:?}, switched off {without:?}");
        ensure!(with.0 * 10 >= with.1 * 8 && with.1 > 0, "{with:?}");
        ensure!(without.0 == 0 && without.1 > 0, "{without:?}");
        swap.end()
    })
}

/// A page that was written ahead and is touched before it was freed is still
/// there: it costs no READ.
#[test]
fn what_was_written_ahead_is_still_there() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        // Reclaim takes a little and leaves much that is clean.
        let _ahead = Setting::knob(swap.client, "write_ahead", "4096")?;
        let limit = Limit::new(swap.client, LIMIT_MIB)?;
        let before = swap.client.vmstat()?;
        let mut program = Steps::start(&limit, MIB, Kind::Anonymous)?;
        // 12 MiB and what the program itself has do not fit.
        program.run("fill 1 0..3200; settle")?;
        let time = scaled(Duration::from_secs(20))?;
        let (ahead, swapped) = wait_until("pages written ahead", time, || {
            let after = swap.client.vmstat()?;
            let ahead = after.grown(&before, "rswpout_ahead")?;
            let swapped = program.run("places 0..3200")?.swapped;
            Ok((ahead > swapped + 256).then_some((ahead, swapped)))
        })?;
        // The latest ones: those that went first are gone.
        let loaded = swap.moved()?.loaded;
        let first = 3200 - (ahead - swapped) / 2;
        program.check(&format!("check 1 {first}..3200"), 3200 - first)?;
        let reads = swap.moved()?.loaded - loaded;
        eprintln!("{ahead} written ahead, {swapped} gone, {reads} READs");
        ensure!(reads == 0, "{reads} READs");
        program.check("check 1 0..3200", 3200)?;
        program.end()?;
        drop(limit);
        swap.end()
    })
}
