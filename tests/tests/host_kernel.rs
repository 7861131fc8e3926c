//! The kernel of hosts, with the drivers of their cards. It takes a build of its
//! own, so that this is not part of the plain test command.

use std::time::Duration;

use anyhow::{Result, ensure};
use rapidswap_kernel::Variant;
use rapidswap_progress::Reporter;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::posed::Posed;
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::{guarded, options};
use rapidswap_tests::wait::wait_until;
use rapidswap_vm::{Cluster, UpOptions, classify, swap};

/// Where drivers are once their initialisation has succeeded.
const DRIVERS: [&str; 8] = [
    "pci/drivers/mlx4_core",
    "auxiliary/drivers/mlx4_core.eth",
    "auxiliary/drivers/mlx4_core.ib",
    "pci/drivers/mlx5_core",
    "auxiliary/drivers/mlx5_core.eth",
    "auxiliary/drivers/mlx5_ib.rdma",
    "pci/drivers/ib_mthca",
    "pci/drivers/ib_qib",
];

/// Machines boot on it by themselves, its drivers are there, and pages travel.
#[test]
fn it_boots_with_its_drivers_and_swaps() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let posed = Posed::start(Variant::Host, dir.path())?;
    for host in ["client", "server"] {
        let there = posed.ssh(host, "cd /sys/bus && ls -d */drivers/*")?;
        for driver in DRIVERS {
            ensure!(
                there.lines().any(|line| line == driver),
                "{host} has no {driver}: {there}"
            );
        }
        let log = posed.ssh(host, "dmesg")?;
        let faults: Vec<_> = log.lines().filter_map(classify).collect();
        ensure!(faults.is_empty(), "{host}: {faults:?}");
        // What is not done at once is done when the machine has come up.
        wait_until("the end of the boot", Duration::from_secs(120), || {
            let state = posed.ssh(host, "systemctl is-system-running || true")?;
            Ok((state.trim() != "starting").then_some(()))
        })?;
        let failed = posed.ssh(host, "systemctl --failed --plain --no-legend")?;
        ensure!(failed.trim().is_empty(), "{host}: {failed}");
    }
    let wanted = UpOptions {
        kernel: Some(Variant::Host.into()),
        profile: posed.profile(),
        swap: true,
        server_mib: 128,
        ..options("test-host-kernel")?
    };
    let cluster = Cluster::up(&wanted, &Reporter::auto())?;
    guarded(cluster.clone(), |scene| {
        let limit = Limit::new(&scene.client, 24)?;
        let output = limit.run(&[PAGE_PATTERN, "verify", "--mib", "48"])?;
        all_right(&output, 48, 1)?;
        let moved = swap::counters(&scene.client.node)?;
        ensure!(
            moved.pages_stored >= 24 * 256 && moved.disk_writes == 0,
            "{moved:?}"
        );
        Ok(())
    })?;
    Ok(cluster.down()?)
}
