//! `rapidswap collect`.

use std::path::PathBuf;

use rapidswap_cli::print;
use rapidswap_progress::Reporter;
use rapidswap_vm::{Cluster, collect};

/// Keeps what can be had of a cluster; the directory goes to standard output,
/// what matters to standard error.
pub fn run(
    cluster: &Cluster,
    dir: Option<PathBuf>,
    dump: bool,
    reporter: &Reporter,
) -> anyhow::Result<u8> {
    let dir = dir.unwrap_or_else(|| {
        let seconds = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        PathBuf::from(format!("{}-{}", cluster.name(), seconds.as_secs()))
    });
    let collected = collect(cluster, &dir, dump)?;
    for line in collected.to_string().lines() {
        reporter.note(line);
    }
    for missing in &collected.missing {
        reporter.note(&format!("not there: {missing}"));
    }
    print(collected.dir.display())?;
    Ok(0)
}
