//! What is of use where a client has more than one CPU.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Result, ensure};
use rapidswap_progress::Reporter;
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::guest::Guest;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::median::median;
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::{Scene, guarded, options};
use rapidswap_tests::setting::{REMOTE_SWAP, Setting, no_workers};
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area::Backing;
use rapidswap_tests::trace::{Event, Trace};
use rapidswap_vm::{Cluster, UpOptions};

const MIB: u64 = 8;
const LIMIT_MIB: u64 = 4;

/// Checks all memory under a limit, in a shuffled order.
fn verified(client: &Guest) -> Result<()> {
    let limit = Limit::new(client, LIMIT_MIB)?;
    let mib = MIB.to_string();
    let command = [PAGE_PATTERN, "verify", "--mib", &mib, "--order", "random"];
    all_right(&limit.run(&command)?, MIB, 1).map(drop)
}

/// Workers run where they are told to, and nowhere else.
fn workers_stay_on_their_cpus(scene: &Scene) -> Result<()> {
    let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
    let client = swap.client;
    let path = format!("{REMOTE_SWAP}/offload_cpus");
    for cpu in [0, 1] {
        let _there = Setting::knob(client, "offload_cpus", &cpu.to_string())?;
        let trace = Trace::of(client, &["vmscan/mm_vmscan_memcg_reclaim_begin"])?;
        verified(client)?;
        let seen = trace.cpus("kworker")?;
        ensure!(seen == BTreeSet::from([cpu]), "CPU {cpu}: {seen:?}");
    }
    // CPUs that do not exist are left out.
    let _all = Setting::knob(client, "offload_cpus", "1-4000")?;
    ensure!(client.read(&path)?.trim() == "1");
    swap.moved()?.remote_alone(MIB * 128)?;
    swap.end()
}

/// The backend in memory completes on the other CPU, within microseconds.
fn a_fault_spins_before_it_sleeps(scene: &Scene) -> Result<()> {
    let swap = Arrangement::ram(scene, &["size_mib=64"])?;
    let client = swap.client;
    let spun = |us: &str| -> Result<u64> {
        let _us = Setting::knob(client, "load_spin_us", us)?;
        let before = client.vmstat()?;
        verified(client)?;
        client.vmstat()?.grown(&before, "rswpin_spin")
    };
    let (with, without) = (spun("1000")?, spun("0")?);
    eprintln!("{with} loads ended while a fault spun, {without} without");
    ensure!(with > 0 && without == 0, "{with} and {without}");
    swap.moved()?.remote_alone(MIB * 128)?;
    swap.end()
}

/// One part of the memory is rewritten by four threads at once, each its own
/// words of every page: what is written to a page that another thread faults in
/// at the same time would be missing.
const WRITTEN: &str = "0..1536";
const WRITTEN_PAGES: u64 = 1536;

/// Another one is read, written with what is there, and forked.
const FORKED: &str = "1536..2304";

/// And one is dropped while it is read.
const DROPPED: [&str; 3] = ["2304..2560", "2560..2816", "2816..3072"];

/// All of the program's memory.
const MIB_OF_THREADS: u64 = 12;

/// Seen by all threads in one round: two passes over what is written, three
/// over what is forked, two over what is dropped.
const SEEN_PAGES: u64 = 2 * WRITTEN_PAGES + 3 * 768 + 2 * 768;

/// What each thread does in one round.
fn threads() -> String {
    let writers =
        (0..4).map(|own| format!("stripe {own}/4 1 2 {WRITTEN}; stripe {own}/4 2 1 {WRITTEN}"));
    let dropped = DROPPED.map(|pages| format!("dontneed {pages}; check zero {pages}"));
    let read = DROPPED.map(|pages| format!("either 4 {pages}"));
    let others = [
        format!("forked 3 {FORKED}; check 3 {FORKED}"),
        format!("fill 3 {FORKED}; forked 3 {FORKED}"),
        dropped.join("; "),
        read.join("; "),
    ];
    writers.chain(others).collect::<Vec<_>>().join(" | ")
}

/// Threads fault on the same pages at once, to read and to write them, while
/// pages are dropped, the program forks and its limit changes.
fn threads_share_their_pages(scene: &Scene) -> Result<()> {
    let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
    let client = swap.client;
    let limit = Limit::new(client, 6)?;
    let mut program = Steps::start_on(&limit, "0-1", MIB_OF_THREADS, Kind::Anonymous)?;
    program.run(&format!("fill 1 {WRITTEN}; fill 3 {FORKED}"))?;
    let before = client.vmstat()?;
    let mut zero_pages = 0;
    for lower in [5, 4] {
        let [one, two, three] = DROPPED;
        program.run(&format!("fill 4 {one}; fill 4 {two}; fill 4 {three}"))?;
        program.begin(&threads())?;
        limit.set(lower)?;
        limit.set(6)?;
        let done = program.answer()?;
        done.right(SEEN_PAGES)?;
        zero_pages += done.zero_pages;
    }
    program.check(&format!("check 1 {WRITTEN}; check 3 {FORKED}"), 2304)?;
    let past = client.vmstat()?.grown(&before, "rswpin_bypass")?;
    let moved = swap.moved()?;
    eprintln!("{past} loads past the swap cache, {zero_pages} pages dropped before; {moved}");
    ensure!(past > 0, "no load was past the swap cache");
    ensure!(zero_pages > 0, "no page was dropped before it was read");
    moved.remote_alone(WRITTEN_PAGES * 4)?;
    program.end()?;
    drop(limit);
    swap.end()
}

/// As many pages as make a batch.
const BATCH: u64 = 16;

/// How many flushes of the other CPU's TLB each batch took. A CPU's own entries
/// are dropped as pages are unmapped where no other CPU has the program's
/// memory, and then there is nothing to wait for.
fn flushes(events: &[Event]) -> Vec<f64> {
    let mut since: HashMap<&str, Option<u32>> = HashMap::new();
    let mut flushes = Vec::new();
    for event in events
        .iter()
        .filter(|event| event.task.starts_with("page-pattern"))
    {
        let since = since.entry(&event.task).or_default();
        match &*event.name {
            "mm_vmscan_memcg_reclaim_begin" => *since = Some(0),
            "mm_vmscan_memcg_reclaim_end" => *since = None,
            "tlb_flush" if event.details.contains("remote ipi send") => {
                *since = since.map(|flushes| flushes + 1);
            }
            "remote_swap_batch" if event.value("nr") >= Some(BATCH) => {
                flushes.extend(since.map(f64::from));
                *since = since.and(Some(0));
            }
            _ => {}
        }
    }
    flushes
}

/// What a batch takes from both CPUs' page tables takes one interrupt.
fn a_batch_is_flushed_at_once(scene: &Scene) -> Result<()> {
    let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
    let client = swap.client;
    let _alone = no_workers(client, false)?;
    let limit = Limit::new(client, 4)?;
    let mut program = Steps::start_on(&limit, "0-1", 8, Kind::Anonymous)?;
    program.run("fill 1 0..2048")?;
    let events = [
        "remote_swap/remote_swap_batch",
        "tlb/tlb_flush",
        "vmscan/mm_vmscan_memcg_reclaim_begin",
        "vmscan/mm_vmscan_memcg_reclaim_end",
    ];
    let trace = Trace::of(client, &events)?;
    program.check("rewrite 1 2 0..1024 | rewrite 1 2 1024..2048", 2048)?;
    let flushes = flushes(&trace.events()?);
    drop(trace);
    eprintln!("flushes of the other CPU for each batch {flushes:?}");
    ensure!(flushes.len() > 10, "{} batches", flushes.len());
    ensure!(median(&flushes) == Some(1.0), "{flushes:?}");
    let most = flushes.iter().sum::<f64>() <= 2.0 * flushes.len() as f64;
    ensure!(most, "{flushes:?}");
    program.end()?;
    drop(limit);
    swap.end()
}

/// Workers that get no CPU do not keep a program from memory.
fn a_program_reclaims_where_workers_starve(scene: &Scene) -> Result<()> {
    let swap = Arrangement::ram(scene, &["size_mib=64"])?;
    let client = swap.client;
    let direct = || -> Result<u64> {
        let before = client.vmstat()?;
        verified(client)?;
        client.vmstat()?.grown(&before, "rswp_direct")
    };
    let _there = Setting::knob(client, "offload_cpus", "1")?;
    let idle = direct()?;
    let forever = ["sh", "-c", "while :; do :; done"];
    let hog = [&["taskset", "-c", "1", "chrt", "-f", "50"][..], &forever].concat();
    let hog = client.start(&hog)?;
    let starved = direct()?;
    drop(hog);
    eprintln!("{starved} direct reclaims with workers that starve, {idle} without");
    ensure!(starved > idle, "{starved} and {idle}");
    swap.moved()?.remote_alone(MIB * 128)?;
    swap.end()
}

#[test]
fn workers_and_faults_use_both() -> Result<()> {
    let wanted = UpOptions {
        cpus: 2,
        ..options("test-two-cpus")?
    };
    let cluster = Cluster::up(&wanted, &Reporter::auto())?;
    let name = cluster.name().to_owned();
    guarded(cluster, |scene| {
        workers_stay_on_their_cpus(scene)?;
        a_fault_spins_before_it_sleeps(scene)?;
        threads_share_their_pages(scene)?;
        a_batch_is_flushed_at_once(scene)?;
        a_program_reclaims_where_workers_starve(scene)
    })?;
    Ok(Cluster::attach(&name)?.down()?)
}
