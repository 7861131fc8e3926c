//! `rapidswap collect`.

use std::io::{self, Write};
use std::path::PathBuf;

use rapidswap_vm::{Cluster, collect};

/// Keeps what can be had of a cluster; the directory goes to standard output,
/// what matters to standard error.
pub fn run(cluster: &Cluster, dir: Option<PathBuf>, dump: bool) -> anyhow::Result<u8> {
    let dir = dir.unwrap_or_else(|| {
        let seconds = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        PathBuf::from(format!("{}-{}", cluster.name(), seconds.as_secs()))
    });
    let collected = collect(cluster, &dir, dump)?;
    // A closed error output is no reason for an error.
    let _ = write!(io::stderr(), "{collected}");
    for missing in &collected.missing {
        let _ = writeln!(io::stderr(), "rapidswap: not there: {missing}");
    }
    writeln!(io::stdout(), "{}", collected.dir.display())?;
    Ok(0)
}
