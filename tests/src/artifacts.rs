//! Where what is kept of a failure goes.

use rapidswap_vm::{Collected, collect, dumps_failures, failure_dir};

use crate::scene::Scene;

/// Keeps what can be had of a cluster in which `test` failed, and prints where
/// and what matters of it. What cannot be kept at all is said, and is no
/// reason for another failure.
pub fn keep(scene: &Scene, test: &str) -> Option<Collected> {
    let dir = match failure_dir(&test.replace("::", ".")) {
        Ok(dir) => dir,
        Err(error) => {
            eprintln!("--- nowhere to keep anything: {error}");
            return None;
        }
    };
    match collect(&scene.cluster, &dir, dumps_failures()) {
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
