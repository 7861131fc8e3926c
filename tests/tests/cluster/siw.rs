//! The link over another transport: soft-iWARP in the place of soft-RoCE.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rapidswap_progress::Reporter;
use rapidswap_tests::remote_module::{insmod, rmmod};
use rapidswap_tests::scene::{guarded, options, scaled};
use rapidswap_tests::wait::wait_until;
use rapidswap_vm::{Cluster, UpOptions};

/// The link is proved as any, its devices' own limits are reported, and the
/// module says that it will not swap over it.
#[test]
fn the_link_is_proved_and_the_module_declines_it() -> Result<()> {
    let wanted = UpOptions {
        profile: "siw".to_owned(),
        ..options("test-siw")?
    };
    // Fails if the proof does.
    let cluster = Cluster::up(&wanted, &Reporter::auto())?;
    guarded(cluster.clone(), |scene| {
        let links = scene.client.ok(&["rdma", "link"])?;
        ensure!(links.contains("siw0/1 state ACTIVE"), "{links}");
        let parity = scene.cluster.parity(&[])?;
        ensure!(parity.ok, "{parity}");
        ensure!(
            parity.ends.iter().all(|end| end.device == "siw0"),
            "{parity}"
        );
        let sges = parity
            .limits
            .iter()
            .find(|limit| limit.attribute == "max_sge_rd");
        // Soft-RoCE has 32.
        ensure!(sges.context("no max_sge_rd")?.common == 1, "{parity}");

        insmod(
            &scene.client,
            "remoteswap",
            &["sip=10.77.0.2", "sport=9400"],
        )?;
        wait_until(
            "what the module says",
            scaled(Duration::from_secs(10))?,
            || {
                let said = scene.client.ok(&["dmesg"])?;
                Ok(said.contains("the device there is iWARP").then_some(()))
            },
        )?;
        rmmod(&scene.client, "remoteswap")
    })?;
    Ok(cluster.down()?)
}
