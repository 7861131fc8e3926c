//! Trace events of a node's kernel.

use anyhow::{Context, Result};

use crate::guest::Guest;

const TRACING: &str = "/sys/kernel/tracing";

/// Trace events that are on, until this is dropped.
pub struct Trace<'a> {
    guest: &'a Guest,
}

impl<'a> Trace<'a> {
    /// Turns events on, for instance `remote_swap/remote_swap_batch`, with
    /// nothing recorded so far.
    pub fn of(guest: &'a Guest, events: &[&str]) -> Result<Trace<'a>> {
        guest.sh(&format!(
            "mountpoint -q {TRACING} || mount -t tracefs tracefs {TRACING}"
        ))?;
        guest.write(&format!("{TRACING}/trace"), "")?;
        let trace = Trace { guest };
        for event in events {
            guest.write(&format!("{TRACING}/events/{event}/enable"), "1")?;
        }
        Ok(trace)
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
        if let Err(error) = self.guest.write(&format!("{TRACING}/events/enable"), "0") {
            eprintln!("{error:#}");
        }
    }
}
