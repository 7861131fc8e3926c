//! What is of use where a client has more than one CPU.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use rapidswap_progress::Reporter;
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::guest::Guest;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::{Scene, guarded, options};
use rapidswap_tests::setting::{REMOTE_SWAP, Setting};
use rapidswap_tests::swap_area::Backing;
use rapidswap_tests::trace::Trace;
use rapidswap_vm::{Cluster, UpOptions};

const MIB: u64 = 16;
const LIMIT_MIB: u64 = 8;

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
        a_fault_spins_before_it_sleeps(scene)
    })?;
    Ok(Cluster::attach(&name)?.down()?)
}
