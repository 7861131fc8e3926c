//! Programs nobody here wrote.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::reports::{REDIS_CHECK, all_right};
use rapidswap_tests::scene::{on_cluster, scaled};
use rapidswap_tests::swap_area::Backing;
use rapidswap_tests::wait::wait_until;

/// Methods of `stress-ng --vm`, and for each a number of operations, which
/// each counts in its own way, that takes it over all of the memory.
const METHODS: [(&str, u32); 5] = [
    ("write64", 50),
    ("zero-one", 100),
    ("incdec", 100),
    ("move-inv", 100),
    ("gray", 200),
];

/// 24 MiB under a limit of 16 MiB: as many pages go out if all are touched.
const STRESS_AT_LEAST: u64 = (24 - 16) * 256;

#[test]
fn stress_ng() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 128, Backing::Disk)?;
        for (method, operations) in METHODS {
            let limit = Limit::new(swap.client, 16)?;
            let before = swap.moved()?;
            let operations = operations.to_string();
            let arguments = ["--vm", "1", "--vm-bytes", "24M", "--vm-keep", "--verify"];
            let chosen = ["--vm-method", method, "--vm-ops", &operations];
            let command = [&["stress-ng"][..], &arguments, &chosen].concat();
            let output = limit.run(&command)?;
            let stderr = String::from_utf8_lossy(&output.stderr);
            ensure!(
                output.status.success(),
                "{method}: {}: {stderr}",
                output.status
            );
            let moved = swap.moved()?;
            eprintln!("{method}: {moved}");
            ensure!(
                moved.stored >= before.stored + STRESS_AT_LEAST && moved.loaded > before.loaded,
                "{method} did not go over all of the memory: {moved}"
            );
        }
        let moved = swap.moved()?;
        ensure!(moved.disk_writes == 0, "pages went to disk: {moved}");
        swap.end()
    })
}

#[test]
fn redis() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 128, Backing::Disk)?;
        let limit = Limit::new(swap.client, 24)?;
        let in_memory = ["--save", "", "--appendonly", "no", "--dir", "/tmp"];
        let server = limit.start(&[&["redis-server"][..], &in_memory].concat())?;
        wait_until("redis", scaled(Duration::from_secs(30))?, || {
            let ping = swap.client.run(&["redis-cli", "ping"])?;
            Ok((ping.stdout == b"PONG\n").then_some(()))
        })?;
        swap.client
            .ok(&[REDIS_CHECK, "fill", "--mib", "40"])
            .context("fill redis")?;
        let output = swap.client.run(&[REDIS_CHECK, "verify", "--mib", "40"])?;
        all_right(&output, 40, 1)?;
        let moved = swap.moved()?;
        eprintln!("{moved}");
        let at_least = (40 - 24) * 256;
        ensure!(
            moved.stored >= at_least && moved.loaded >= at_least && moved.disk_writes == 0,
            "{moved}"
        );
        swap.client.run(&["redis-cli", "shutdown", "nosave"])?;
        server.finish(scaled(Duration::from_secs(60))?)?;
        swap.end()
    })
}
