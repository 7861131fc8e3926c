//! Measuring on a cluster: what it ends with, whatever comes of it.

use anyhow::Result;
use rapidswap_progress::Reporter;
use rapidswap_tests::scene::{Scene, end};
use rapidswap_vm::{Cluster, interrupt, keep_failure};

/// Measures on a cluster and takes it down, or leaves it if something failed
/// and `keep` asks for that. What can be had of a failure is kept, and a fault
/// of a kernel is one.
pub fn attended<T>(
    cluster: Cluster,
    name: &str,
    keep: bool,
    reporter: &Reporter,
    measure: impl FnOnce(&Scene) -> Result<T>,
) -> Result<T> {
    let scene = Scene::of(cluster)?;
    let measured = scene.cluster.judge(measure(&scene), reporter);
    let good = measured.is_ok();
    if !good {
        interrupt::heed();
        keep_failure(&scene.cluster, name, reporter);
    }
    let down = end(scene.cluster, keep && !good, reporter);
    let outcome = measured?;
    down?;
    Ok(outcome)
}
