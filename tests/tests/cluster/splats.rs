//! A run fails if a kernel complains: shown by a complaint that is planted.

use anyhow::{Context, Result, ensure};
use rapidswap_progress::Reporter;
use rapidswap_tests::remote_module::insmod;
use rapidswap_tests::scene::{Scene, guarded, options};
use rapidswap_vm::Cluster;

fn plant(scene: &Scene) -> Result<()> {
    insmod(&scene.client, "lkdtm", &[])?;
    let trigger = "/sys/kernel/debug/provoke-crash/DIRECT";
    scene.client.write(trigger, "WARNING")
}

#[test]
fn a_planted_warning_fails_a_test_that_passes() -> Result<()> {
    let name = "test-splat";
    let cluster = Cluster::up(&options(name)?, &Reporter::auto())?;
    let error = guarded(cluster, plant)
        .err()
        .context("the warning was not seen")?;
    let message = format!("{error:#}");
    ensure!(
        message.contains("kernel faults") && message.contains("WARNING"),
        "{message}"
    );
    ensure!(
        message.contains("client"),
        "it does not say which node: {message}"
    );
    ensure!(
        Cluster::attach(name).is_err(),
        "the cluster is still up after the failure"
    );
    Ok(())
}
