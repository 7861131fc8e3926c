//! The same over another transport: soft-iWARP in the place of soft-RoCE.

use anyhow::{Context, Result, ensure};
use rapidswap_progress::Reporter;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::{guarded, options};
use rapidswap_vm::{Cluster, UpOptions, swap};

/// The link is proved as any, its devices' own limits are reported, and pages
/// travel.
#[test]
fn the_link_is_proved_and_swapped_over() -> Result<()> {
    let wanted = UpOptions {
        profile: "siw".to_owned(),
        swap: true,
        server_mib: 64,
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

        let limit = Limit::new(&scene.client, 12)?;
        let output = limit.run(&[PAGE_PATTERN, "verify", "--mib", "24"])?;
        all_right(&output, 24, 1)?;
        let moved = swap::counters(&scene.client.node)?;
        ensure!(
            moved.pages_stored >= 12 * 256 && moved.disk_writes == 0,
            "{moved:?}"
        );
        Ok(())
    })?;
    Ok(cluster.down()?)
}
