//! Pages moved, as the client's kernel counts them.

use std::path::Path;

use serde::Serialize;

use crate::cluster::node::Node;
use crate::error::{Error, Result};
use crate::swap::pairs;

/// Pages moved since the client booted, or between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Stored remotely.
    pub pages_stored: u64,
    /// Stores that failed after they had been posted.
    pub stores_failed: u64,
    /// Of attached areas, written to the swap device instead.
    pub disk_writes: u64,
    /// Loaded remotely.
    pub pages_loaded: u64,
    /// Loads that failed.
    pub loads_failed: u64,
    /// Loads refused because the page is lost.
    pub loads_lost: u64,
    /// Written to any swap device.
    pub device_out: u64,
    /// Read from any swap device.
    pub device_in: u64,
    /// Read ahead of any fault, from wherever they were.
    pub read_ahead: u64,
    /// Of those, met by a fault later on.
    pub read_ahead_used: u64,
}

impl Counters {
    /// From the text of `/proc/vmstat`; what is missing there, if anything is.
    pub fn parse(stat: &str) -> Result<Counters, &'static str> {
        let pairs = pairs(stat);
        let get = |key: &'static str| pairs.get(key).and_then(|v| v.parse().ok()).ok_or(key);
        Ok(Counters {
            pages_stored: get("rswpout")?,
            stores_failed: get("rswpout_fail")?,
            disk_writes: get("rswpout_disk")?,
            pages_loaded: get("rswpin")?,
            loads_failed: get("rswpin_fail")?,
            loads_lost: get("rswpin_lost")?,
            device_out: get("pswpout")?,
            device_in: get("pswpin")?,
            read_ahead: get("swap_ra")?,
            read_ahead_used: get("swap_ra_hit")?,
        })
    }

    /// What was counted since an earlier moment of the same boot.
    pub fn since(&self, earlier: &Counters) -> Counters {
        let (now, then) = (self, earlier);
        Counters {
            pages_stored: now.pages_stored.saturating_sub(then.pages_stored),
            stores_failed: now.stores_failed.saturating_sub(then.stores_failed),
            disk_writes: now.disk_writes.saturating_sub(then.disk_writes),
            pages_loaded: now.pages_loaded.saturating_sub(then.pages_loaded),
            loads_failed: now.loads_failed.saturating_sub(then.loads_failed),
            loads_lost: now.loads_lost.saturating_sub(then.loads_lost),
            device_out: now.device_out.saturating_sub(then.device_out),
            device_in: now.device_in.saturating_sub(then.device_in),
            read_ahead: now.read_ahead.saturating_sub(then.read_ahead),
            read_ahead_used: now.read_ahead_used.saturating_sub(then.read_ahead_used),
        }
    }
}

/// The client's counters.
pub fn counters(client: &Node) -> Result<Counters> {
    let mut stat = Vec::new();
    client.pull(Path::new("/proc/vmstat"), &mut stat)?;
    parsed(client, &String::from_utf8_lossy(&stat))
}

/// Counters of a node, from its `/proc/vmstat`.
pub(crate) fn parsed(client: &Node, stat: &str) -> Result<Counters> {
    Counters::parse(stat).map_err(|missing| Error::Step {
        what: "reading /proc/vmstat".into(),
        node: client.name().into(),
        detail: format!("no `{missing}` there: is this the patched kernel?"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "nr_free_pages 1\npswpin 8\npswpout 7\nrswpout 1\nrswpout_fail 2\n\
                        rswpout_disk 3\nrswpin 4\nrswpin_fail 5\nrswpin_lost 6\n\
                        swap_ra 9\nswap_ra_hit 10\n";

    #[test]
    fn they_come_from_vmstat() {
        let counters = Counters::parse(STAT).expect("complete");
        assert_eq!(counters.pages_stored, 1);
        assert_eq!(counters.disk_writes, 3);
        assert_eq!(counters.device_in, 8);
        assert_eq!(counters.read_ahead_used, 10);
        assert_eq!(Counters::parse("pswpin 1\n"), Err("rswpout"));
    }

    #[test]
    fn a_difference_is_each_counters_own() {
        let before = Counters::parse(STAT).expect("complete");
        let after = STAT.replace("rswpout 1", "rswpout 5");
        let after = Counters::parse(&after.replace("swap_ra 9", "swap_ra 12")).expect("complete");
        let expected = Counters {
            pages_stored: 4,
            read_ahead: 3,
            ..Counters::default()
        };
        assert_eq!(after.since(&before), expected);
    }
}
