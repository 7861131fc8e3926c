//! What a cluster of virtual machines runs from.

use anyhow::{Result, ensure};
use rapidswap_tests::scene::on_cluster;

/// `clean` leaves these alone.
#[test]
fn what_a_running_cluster_has_from_the_cache_is_known() -> Result<()> {
    on_cluster(|scene| {
        let status = scene.cluster.status()?;
        let mut kinds = vec!["kernel/out/", "images/", "module/"];
        kinds.extend(status.start.restored.then_some("states/"));
        for kind in kinds {
            let mut files = status.files.iter();
            let found = files.any(|file| file.to_string_lossy().contains(kind) && file.exists());
            ensure!(found, "nothing in {kind}: {:?}", status.files);
        }
        Ok(())
    })
}
