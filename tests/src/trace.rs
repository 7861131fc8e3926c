//! Trace events of a node's kernel.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

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

    /// The CPUs that the tasks were on whose name begins with `task`, at the
    /// events that are in the buffer.
    pub fn cpus(&self, task: &str) -> Result<BTreeSet<u32>> {
        cpus(&self.guest.read(&format!("{TRACING}/trace"))?, task)
    }

    /// How long all tasks together were between the events `begin` and `end`.
    /// `None` if the buffer was too small for all of them.
    pub fn between(&self, begin: &str, end: &str) -> Result<Option<Duration>> {
        let text = self.guest.read(&format!("{TRACING}/trace"))?;
        between(&text, begin, end)
    }
}

fn cpus(text: &str, task: &str) -> Result<BTreeSet<u32>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let entries = lines
        .map(|line| Entry::parse(line).with_context(|| format!("a line of the trace: {line:?}")));
    let entries: Vec<Entry> = entries.collect::<Result<_>>()?;
    let of_task = entries.iter().filter(|entry| entry.task.starts_with(task));
    Ok(of_task.map(|entry| entry.cpu).collect())
}

fn between(text: &str, begin: &str, end: &str) -> Result<Option<Duration>> {
    let kept = text
        .lines()
        .find_map(|line| line.strip_prefix("# entries-in-buffer/entries-written: "));
    let (kept, written) = kept
        .and_then(|line| line.split_whitespace().next()?.split_once('/'))
        .context("the trace does not say how much of it there is")?;
    if kept != written {
        return Ok(None);
    }
    let mut begun = HashMap::new();
    let mut total = Duration::ZERO;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let entry = Entry::parse(line).with_context(|| format!("a line of the trace: {line:?}"))?;
        if entry.event == begin {
            begun.insert(entry.task, entry.at);
        } else if entry.event == end {
            let since = begun.remove(entry.task);
            let since = since.with_context(|| format!("an end without a beginning: {line:?}"))?;
            total += entry.at.saturating_sub(since);
        }
    }
    Ok(Some(total))
}

/// `TASK-PID [CPU] FLAGS SECONDS: EVENT: …`, where a task's name may have
/// spaces in it.
struct Entry<'a> {
    task: &'a str,
    cpu: u32,
    at: Duration,
    event: &'a str,
}

impl Entry<'_> {
    fn parse(line: &str) -> Option<Entry<'_>> {
        let (task, rest) = line.split_once(" [")?;
        let (cpu, rest) = rest.split_once("] ")?;
        let (_, rest) = rest.trim_start().split_once(' ')?;
        let (seconds, rest) = rest.trim_start().split_once(": ")?;
        Some(Entry {
            task: task.trim(),
            cpu: cpu.parse().ok()?,
            at: Duration::from_secs_f64(seconds.parse().ok()?),
            event: rest.split_once(':')?.0,
        })
    }
}

impl Drop for Trace<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.guest.write(&format!("{TRACING}/events/enable"), "0") {
            eprintln!("{error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# tracer: nop
#
# entries-in-buffer/entries-written: 5/5   #P:1
#
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
       bench-job-101     [000] .....    12.000100: begin: order=0 gfp_flags=GFP_KERNEL
       a b: c-102     [000] .....    12.000200: begin: order=0
       bench-job-101     [000] d..1.    12.000300: other: begin: 1
       bench-job-101     [000] .....    12.001100: end: nr_reclaimed=32
       a b: c-102     [000] .....    12.000250: end: nr_reclaimed=1
";

    #[test]
    fn time_is_counted_for_each_task() {
        let total = between(TEXT, "begin", "end").expect("a trace");
        assert_eq!(total, Some(Duration::from_micros(1050)));
        assert_eq!(
            between(TEXT, "never", "neither").expect("a trace"),
            Some(Duration::ZERO)
        );
    }

    #[test]
    fn cpus_are_those_of_the_named_tasks() {
        let text = TEXT.replace("a b: c-102     [000]", "a b: c-102     [003]");
        let of = |task| cpus(&text, task).expect("a trace");
        assert_eq!(of("a b"), BTreeSet::from([3]));
        assert_eq!(of(""), BTreeSet::from([0, 3]));
        assert_eq!(of("never"), BTreeSet::new());
    }

    #[test]
    fn what_was_overwritten_is_not_taken_for_nothing() {
        let text = TEXT.replace("5/5", "5/7");
        assert_eq!(between(&text, "begin", "end").expect("a trace"), None);
        assert!(between("", "begin", "end").is_err());
        let text = TEXT.replace("12.000100: begin", "12.000100: other");
        assert!(between(&text, "begin", "end").is_err());
    }
}
