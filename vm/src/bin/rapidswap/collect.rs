//! `rapidswap collect`.

use std::path::PathBuf;

use rapidswap_cli::{print, say};
use rapidswap_vm::{Cluster, collect};

/// Keeps what can be had of a cluster; the directory goes to standard output,
/// what matters to standard error.
pub fn run(cluster: &Cluster, dir: Option<PathBuf>, dump: bool) -> anyhow::Result<u8> {
    let dir = dir.unwrap_or_else(|| {
        let seconds = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        PathBuf::from(format!("{}-{}", cluster.name(), seconds.as_secs()))
    });
    let collected = collect(cluster, &dir, dump)?;
    say(collected.to_string().trim_end());
    for missing in &collected.missing {
        say(format_args!("rapidswap: not there: {missing}"));
    }
    print(collected.dir.display())?;
    Ok(0)
}
