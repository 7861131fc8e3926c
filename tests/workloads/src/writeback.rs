//! Pages on their way out.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};

/// Waits until no page is under writeback, so that page-outs which complete
/// later than the call are awaited.
pub fn settle() -> Result<()> {
    loop {
        // Reading this file folds the counters of all CPUs; without the right
        // to, the loop only ends a little early or late.
        let _ = std::fs::read("/proc/sys/vm/stat_refresh");
        let vmstat = std::fs::read_to_string("/proc/vmstat").context("read /proc/vmstat")?;
        let pages = vmstat
            .lines()
            .find_map(|line| line.strip_prefix("nr_writeback "))
            .and_then(|pages| pages.trim().parse::<u64>().ok())
            .context("no nr_writeback in /proc/vmstat")?;
        if pages == 0 {
            return Ok(());
        }
        sleep(Duration::from_millis(1));
    }
}
