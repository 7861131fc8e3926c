//! The unified hierarchy (cgroup v2) limits as the old one does.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rapidswap_progress::Reporter;
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::guest::Guest;
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::{guarded, options, scaled};
use rapidswap_tests::swap_area::Backing;
use rapidswap_tests::vmstat::Vmstat;
use rapidswap_vm::Cluster;

const MIB: u64 = 16;
const ROOT: &str = "/sys/fs/cgroup";
const GROUP: &str = "/sys/fs/cgroup/limited";

/// A number of the group's `memory.stat`.
fn stat(client: &Guest, name: &str) -> Result<u64> {
    let counters = Vmstat::parse(&client.read(&format!("{GROUP}/memory.stat"))?);
    counters.get(name).with_context(|| format!("no {name}"))
}

/// Checks all memory in a new group with 8 MiB in `file`. Returns how many
/// pages workers freed, and how often the program reclaimed by itself.
fn limited(swap: &Arrangement<'_>, file: &str, order: &str) -> Result<(u64, u64)> {
    let client = swap.client;
    let before = client.vmstat()?;
    client.sh(&format!("mkdir {GROUP} && echo 8M > {GROUP}/{file}"))?;
    let enter = format!("echo 0 > {GROUP}/cgroup.procs; exec \"$@\"");
    let mib = MIB.to_string();
    let command = [PAGE_PATTERN, "verify", "--mib", &mib, "--order", order];
    let program = client.start(&[&["sh", "-ec", &enter, "sh"][..], &command].concat())?;
    all_right(&program.finish(scaled(Duration::from_secs(120))?)?, MIB, 1)?;
    let (freed, direct) = (stat(client, "rswp_offload")?, stat(client, "rswp_direct")?);
    let events = client.read(&format!("{GROUP}/memory.events"))?;
    eprintln!("{file}: {freed} freed by workers, {direct} direct; {events:?}");
    ensure!(events.contains("oom_kill 0"), "{events}");
    ensure!(
        stat(client, "rswpout")? >= MIB * 128,
        "too few pages stored"
    );
    let after = client.vmstat()?;
    for name in ["swap_ra", "swap_ra_hit"] {
        let (all, of_group) = (after.grown(&before, name)?, stat(client, name)?);
        eprintln!("{name}: {of_group} of {all}");
        ensure!(of_group == all, "{name}: {of_group} of {all}");
        ensure!(of_group > 0 || order != "sequential", "no {name}");
    }
    client.sh(&format!("rmdir {GROUP}"))?;
    Ok((freed, direct))
}

#[test]
fn max_and_high_have_marks_too() -> Result<()> {
    let cluster = Cluster::up(&options("test-v2")?, &Reporter::auto())?;
    guarded(cluster, |scene| {
        let client = &scene.client;
        // A controller is in one hierarchy at a time.
        client.sh(&format!(
            "umount {ROOT}/memory {ROOT}/cpuset && mount -t cgroup2 cgroup2 {ROOT} && \
             echo +memory > {ROOT}/cgroup.subtree_control"
        ))?;
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let (freed, direct) = limited(&swap, "memory.max", "random")?;
        // A task whose workers are kept waiting does a part of it.
        ensure!(
            freed >= MIB * 128 && direct * 32 * 10 <= freed,
            "{freed}, {direct}"
        );
        let (freed, _) = limited(&swap, "memory.high", "sequential")?;
        ensure!(freed >= MIB * 64, "{freed}");
        swap.moved()?.remote_alone(MIB * 128)?;
        swap.end()
    })?;
    Ok(Cluster::attach("test-v2")?.down()?)
}
