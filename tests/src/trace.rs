//! Trace events of a node's kernel.

use anyhow::{Context, Result};

use crate::guest::Guest;

const TRACING: &str = "/sys/kernel/tracing";

/// A trace event that is on, until this is dropped.
pub struct Trace<'a> {
    guest: &'a Guest,
    enable: String,
}

impl<'a> Trace<'a> {
    /// Turns on `event`, for instance `remote_swap/remote_swap_batch`, with
    /// nothing recorded so far.
    pub fn of(guest: &'a Guest, event: &str) -> Result<Trace<'a>> {
        guest.sh(&format!(
            "mountpoint -q {TRACING} || mount -t tracefs tracefs {TRACING}"
        ))?;
        guest.write(&format!("{TRACING}/trace"), "")?;
        let enable = format!("{TRACING}/events/{event}/enable");
        guest.write(&enable, "1")?;
        Ok(Trace { guest, enable })
    }

    /// The values of `field`, a number, in the events that are in the buffer:
    /// the latest ones.
    pub fn values(&self, field: &str) -> Result<Vec<u64>> {
        let key = format!("{field}=");
        let text = self.guest.read(&format!("{TRACING}/trace"))?;
        text.lines()
            .filter_map(|line| line.split_once(&key))
            .map(|(_, rest)| {
                let number = rest.split(' ').next().unwrap_or_default();
                let parsed = number.parse();
                parsed.with_context(|| format!("{field} is {number:?} in the trace"))
            })
            .collect()
    }
}

impl Drop for Trace<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.guest.write(&self.enable, "0") {
            eprintln!("{error:#}");
        }
    }
}
