//! Workers reclaim below the limit, so that tasks need not.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::{on_cluster, scaled};
use rapidswap_tests::setting::{PAGE_CLUSTER, Setting, ram_fault};
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area::Backing;
use rapidswap_tests::trace::Trace;
use rapidswap_tests::wait::wait_until;

const MIB: u64 = 24;
const LIMIT_MIB: u64 = 12;

/// Bytes of so many pages.
const fn bytes(pages: u64) -> u64 {
    pages << 12
}

/// How far usage may be below the mark when workers have nothing to do: what
/// one of them frees at a time, and what a CPU has charged and not yet used.
const SLACK: u64 = bytes(256);

/// Waits until usage is just below a mark of so many bytes, and stays there.
fn comes_to(limit: &Limit<'_>, mark: u64) -> Result<()> {
    let usage = || -> Result<u64> { Ok(limit.usage()?.bytes()) };
    let there = |usage: u64| usage <= mark && usage + SLACK > mark;
    let time = scaled(Duration::from_secs(10))?;
    let came = wait_until("usage at the mark", time, || {
        Ok(there(usage()?).then_some(()))
    });
    let usage = usage()?;
    came.with_context(|| format!("{usage} in use, the mark at {mark}"))?;
    ensure!(there(usage), "{usage} in use, the mark at {mark}");
    Ok(())
}

/// Usage is what tells of a mark: workers reclaim down to it.
#[test]
fn the_mark_is_the_headroom_below_the_limit_and_an_eighth_at_most() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let client = swap.client;
        let limited = bytes(2048);
        for (headroom, mark) in [("1000000", limited / 8 * 7), ("64", limited - bytes(64))] {
            let _room = Setting::knob(client, "fs_headroom", headroom)?;
            let limit = Limit::new(client, 8)?;
            let mut program = Steps::start(&limit, 16, Kind::Anonymous)?;
            program.run("lock 0..1024; fill 1 0..4096")?;
            comes_to(&limit, mark).with_context(|| format!("headroom {headroom}"))?;
            // What is locked does not leave, so that this is refused.
            ensure!(limit.set_once(2).is_err(), "a limit below what is locked");
            program.check("check 1 0..4096", 4096)?;
            comes_to(&limit, mark).context("after a limit that was refused")?;
            program.end()?;
        }
        swap.moved()?.remote_alone(1024)?;
        swap.end()
    })
}

/// How many of a group's workers were at work at a time, at most.
fn at_work(swap: &Arrangement<'_>, most: &str, line: &str) -> Result<usize> {
    let client = swap.client;
    let _most = Setting::knob(client, "sthd_cnt", most)?;
    let limit = Limit::new(client, LIMIT_MIB)?;
    let mut program = Steps::start(&limit, MIB, Kind::Anonymous)?;
    program.run("fill 1 0..6144")?;
    comes_to(&limit, bytes(LIMIT_MIB * 256 / 8 * 7))?;
    const BEGIN: &str = "mm_vmscan_memcg_reclaim_begin";
    // The end first: what is in between has a beginning then, or none of both.
    let reclaim = ["end", "begin"].map(|what| format!("vmscan/mm_vmscan_memcg_reclaim_{what}"));
    let trace = Trace::of(client, &reclaim.each_ref().map(String::as_str))?;
    program.run(line)?;
    let events = trace.events()?;
    drop(trace);
    program.end()?;
    let mut now = BTreeSet::new();
    let mut together = 0;
    for event in events
        .iter()
        .filter(|event| event.task.starts_with("kworker"))
    {
        if event.name == BEGIN {
            now.insert(&event.task);
        } else {
            now.remove(&event.task);
        }
        together = together.max(now.len());
    }
    eprintln!("at most {most}, `{line}`: {together} at a time");
    Ok(together)
}

/// One where little is wanted, more where more is.
#[test]
fn workers_are_as_many_as_are_wanted() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        // The writer would do most of it, and pages that nobody asked for are charged as well.
        let _off = Setting::knob(swap.client, "write_ahead", "0")?;
        let _alone = Setting::new(swap.client, PAGE_CLUSTER, "0")?;
        let hard = "dontneed 0..6144; fill 1 0..6144";
        let one = at_work(&swap, "1", hard)?;
        let many = at_work(&swap, "2", hard)?;
        // With the 64 that a CPU charges at a time that is less than half of the headroom.
        let little = at_work(&swap, "2", "rewrite 1 1 0..100")?;
        ensure!((one, many, little) == (1, 2, 1), "{one}, {many}, {little}");
        swap.moved()?.remote_alone(128)?;
        swap.end()
    })
}

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

/// Workers whose group goes while they wait for stores go on after them, and the
/// group is gone when they have ended.
#[test]
fn a_group_goes_while_its_workers_reclaim() -> Result<()> {
    const ROUNDS: usize = 8;
    on_cluster(|scene| {
        let swap = Arrangement::ram(scene, &["size_mib=64", "delay_ms=300"])?;
        let client = swap.client;
        let time = scaled(Duration::from_secs(20))?;
        let late = |fault: &str| ram_fault(client, "store_fault", fault);
        // Removed and not yet gone: what only caches hold of them is let go of.
        let going = || -> Result<usize> {
            let counts = client.sh(
                "echo 3 > /proc/sys/vm/drop_caches; find /sys/fs/cgroup/memory -type d | wc -l; \
                 awk '$1 == \"memory\" { print $3 }' /proc/cgroups",
            )?;
            let mut counts = counts.lines().map(str::parse::<usize>);
            let (seen, all) = (counts.next(), counts.next());
            let (seen, all) = seen.zip(all).context("no memory controller")?;
            all?.checked_sub(seen?)
                .context("fewer groups than directories")
        };
        let all_gone = || {
            wait_until("groups to be gone", time, || {
                Ok((going()? == 0).then_some(()))
            })
        };
        all_gone().context("of earlier tests")?;
        for round in 0..ROUNDS {
            let _generations = Setting::mglru(client, round % 2 == 1)?;
            let limit = Limit::new(client, LIMIT_MIB / 2)?;
            let mut program = Steps::start(&limit, MIB, Kind::Anonymous)?;
            late("delay")?;
            program.begin("fill 1 0..6144")?;
            wait_until("stores", time, || Ok((swap.leaving()? > 0).then_some(())))?;
            drop((program, limit));
            late("none")?;
        }
        // Pages that were on their way when their task ended stay in the swap
        // cache until somebody reclaims, or swapoff.
        swap.end()?;
        all_gone()
    })
}
