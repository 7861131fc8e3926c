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

    /// All that is in the buffer, in the order in which it happened.
    pub fn events(&self) -> Result<Vec<Event>> {
        events(&self.guest.read(&format!("{TRACING}/trace"))?)
    }

    /// The CPUs that the tasks were on whose name begins with `task`, at the
    /// events that are in the buffer.
    pub fn cpus(&self, task: &str) -> Result<BTreeSet<u32>> {
        cpus(&self.guest.read(&format!("{TRACING}/trace"))?, task)
    }

    /// How long tasks were between the events `begin` and `end`. `None` if the
    /// buffer was too small for all of them.
    pub fn between(&self, begin: &str, end: &str) -> Result<Option<Spent>> {
        let text = self.guest.read(&format!("{TRACING}/trace"))?;
        between(&text, begin, end)
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The task's name, `-` and its number.
    pub task: String,
    /// The event's name.
    pub name: String,
    /// What else is said of it.
    pub details: String,
}

impl Event {
    /// The value of a field that is a number.
    pub fn value(&self, field: &str) -> Option<u64> {
        let mut words = self.details.split(' ');
        let value = words.find_map(|word| word.strip_prefix(field)?.strip_prefix('='));
        value?.parse().ok()
    }
}

fn entries(text: &str) -> impl Iterator<Item = Result<Entry<'_>>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| Entry::parse(line).with_context(|| format!("a line of the trace: {line:?}")))
}

fn events(text: &str) -> Result<Vec<Event>> {
    let event = |entry: Result<Entry<'_>>| {
        let entry = entry?;
        Ok(Event {
            task: entry.task.to_owned(),
            name: entry.event.to_owned(),
            details: entry.details.trim().to_owned(),
        })
    };
    entries(text).map(event).collect()
}

fn cpus(text: &str, task: &str) -> Result<BTreeSet<u32>> {
    let entries: Vec<Entry> = entries(text).collect::<Result<_>>()?;
    let of_task = entries.iter().filter(|entry| entry.task.starts_with(task));
    Ok(of_task.map(|entry| entry.cpu).collect())
}

/// The time that tasks spent, the sum over them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Those of programs.
    pub by_programs: Duration,
    /// Those of the kernel, which do so beside programs.
    pub by_workers: Duration,
}

/// What the kernel's own tasks are called that reclaim.
const WORKERS: [&str; 2] = ["kworker/", "kswapd"];

fn between(text: &str, begin: &str, end: &str) -> Result<Option<Spent>> {
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
    let mut spent = Spent::default();
    for entry in entries(text) {
        let entry = entry?;
        if entry.event == begin {
            begun.insert(entry.task, entry.at);
        } else if entry.event == end {
            let since = begun.remove(entry.task);
            let since =
                since.with_context(|| format!("{} ends what it never began", entry.task))?;
            let time = entry.at.saturating_sub(since);
            if WORKERS.iter().any(|name| entry.task.starts_with(name)) {
                spent.by_workers += time;
            } else {
                spent.by_programs += time;
            }
        }
    }
    Ok(Some(spent))
}

/// `TASK-PID [CPU] FLAGS SECONDS: EVENT: …`, where a task's name may have
/// spaces in it.
struct Entry<'a> {
    task: &'a str,
    cpu: u32,
    at: Duration,
    event: &'a str,
    details: &'a str,
}

impl Entry<'_> {
    fn parse(line: &str) -> Option<Entry<'_>> {
        let (task, rest) = line.split_once(" [")?;
        let (cpu, rest) = rest.split_once("] ")?;
        let (_, rest) = rest.trim_start().split_once(' ')?;
        let (seconds, rest) = rest.trim_start().split_once(": ")?;
        let (event, details) = rest.split_once(':')?;
        Some(Entry {
            task: task.trim(),
            cpu: cpu.parse().ok()?,
            at: Duration::from_secs_f64(seconds.parse().ok()?),
            event,
            details,
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
        let of = |text: &str, begin: &str, end: &str| between(text, begin, end).expect("a trace");
        let mut spent = Spent {
            by_programs: Duration::from_micros(1050),
            by_workers: Duration::ZERO,
        };
        assert_eq!(of(TEXT, "begin", "end"), Some(spent));
        assert_eq!(of(TEXT, "never", "neither"), Some(Spent::default()));
        // What the kernel's workers do meanwhile is not the program's time.
        for worker in ["kworker/u2:0-events", "kswapd0"] {
            let text = TEXT.replace("a b: c", worker);
            spent.by_programs = Duration::from_micros(1000);
            spent.by_workers = Duration::from_micros(50);
            assert_eq!(of(&text, "begin", "end"), Some(spent));
        }
    }

    #[test]
    fn an_event_has_its_fields() {
        let all = events(TEXT).expect("a trace");
        assert_eq!(all.len(), 5);
        let Event { task, name, .. } = &all[4];
        assert_eq!((&**task, &**name), ("a b: c-102", "end"));
        assert_eq!(all[4].value("nr_reclaimed"), Some(1));
        assert_eq!(all[0].value("gfp_flags"), None);
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
