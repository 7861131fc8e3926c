//! Where what is kept of a failure goes.

use std::path::PathBuf;

use rapidswap_vm::{Collected, collect};

use crate::rapidswap::target;
use crate::scene::Scene;

/// Names the directory of all failures.
const PLACE: &str = "RAPIDSWAP_ARTIFACTS";

/// Keeps what can be had of a cluster in which `test` failed, and prints where
/// and what matters of it. What cannot be kept at all is said, and is no
/// reason for another failure.
pub fn keep(scene: &Scene, test: &str) -> Option<Collected> {
    let place = match std::env::var_os(PLACE).filter(|place| !place.is_empty()) {
        Some(place) => PathBuf::from(place),
        None => target().join("failures"),
    };
    let seconds = std::time::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default()
        .as_secs();
    let dir = place.join(format!("{}-{seconds}", test.replace("::", ".")));
    match collect(&scene.cluster, &dir, false) {
        Ok(collected) => {
            // Printed rather than chained: an error is one line, this is many.
            eprint!("{collected}");
            Some(collected)
        }
        Err(error) => {
            eprintln!("--- nothing could be kept in {}: {error}", dir.display());
            None
        }
    }
}
