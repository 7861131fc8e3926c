//! `rapidswap run`: a command under a memory limit, and what its pages did.

use std::ffi::OsString;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use rapidswap_cli::say;
use rapidswap_vm::swap::latency::{FAULT, STORE_BATCH, time};
use rapidswap_vm::swap::time_v::TimeReport;
use rapidswap_vm::{Cluster, Error, Exec, ExitStatus, Figures, MemoryGroup, Node, Reading, Size};

use crate::foreground::{Ended, Foreground, Streams};

/// How much of the end of an error output is kept: `time -v` writes 1 KiB.
const TAIL: usize = 4096;

/// What is to be run.
pub struct Run {
    /// The memory limit.
    pub limit: Size,
    /// The processors; all unless given.
    pub cpus: Option<String>,
    /// Whether to run it without the limit as well.
    pub compare: bool,
    /// The command.
    pub command: Vec<OsString>,
}

impl Run {
    /// Runs it, and reports on standard error.
    pub fn run(self, cluster: &Cluster) -> Result<Ended, Error> {
        let client = cluster.node("client")?;
        let cpus = match self.cpus {
            Some(cpus) => cpus,
            // Those it has, which a host does not have from here.
            None => {
                let online = ["cat", "/sys/devices/system/cpu/online"];
                client.run("counting processors", online)?.trim().to_owned()
            }
        };
        let group = MemoryGroup::create(&client, self.limit)?;
        let argv = group.command(&cpus, self.command);
        let ended = report(&client, &group, &argv, self.compare);
        // The command's own end is what the caller asked about; a group
        // that stays is worth a word all the same.
        if let Err(error) = group.remove() {
            say(format_args!("rapidswap: {error}"));
        }
        ended
    }
}

fn report(
    client: &Node,
    group: &MemoryGroup,
    argv: &[OsString],
    compare: bool,
) -> Result<Ended, Error> {
    // A kernel without remote swap runs commands all the same.
    let before = Reading::of(client);
    let tail = Tail::default();
    let streams = Streams {
        stdin: true,
        stdout: io::stdout(),
        stderr: Tee(io::stderr(), tail.clone()),
    };
    let ended = Foreground::run_with(client, Exec::new(argv), None, streams)?;
    let moved = before.and_then(|before| {
        let after = Reading::of(client)?;
        Ok((after.figures.since(&before.figures), after.session))
    });
    match moved {
        Ok((moved, Some(_))) => say(lines(&moved)),
        Ok((_, None)) => say("\tRemote swap: off, remoteswap is not loaded"),
        Err(error) => say(format_args!("\tRemote swap: unknown, {error}")),
    }
    if compare {
        say(&match compared(client, group, argv, ended, &tail) {
            Ok(lines) => lines,
            Err(why) => format!("\tSlowdown by the limit: unknown, {why}"),
        });
    }
    Ok(ended)
}

/// Runs the command once more, without the limit, and says how much faster
/// it was.
fn compared(
    client: &Node,
    group: &MemoryGroup,
    argv: &[OsString],
    limited: Ended,
    limited_tail: &Tail,
) -> Result<String, String> {
    succeeded(limited, "under the limit")?;
    group.lift().map_err(|error| error.to_string())?;
    let tail = Tail::default();
    let streams = Streams {
        stdin: false,
        stdout: io::sink(),
        stderr: tail.clone(),
    };
    let ended = Foreground::run_with(client, Exec::new(argv), None, streams)
        .map_err(|error| error.to_string())?;
    succeeded(ended, "without a limit")?;
    let seconds = |tail: &Tail| {
        let report = TimeReport::parse(&tail.text());
        let report = report.ok_or("the report of `time -v` cannot be read")?;
        Ok::<_, String>(report.elapsed.as_secs_f64())
    };
    slowdown(seconds(limited_tail)?, seconds(&tail)?)
}

/// The lines for a command that took so many seconds under the limit and
/// without it.
fn slowdown(slow: f64, fast: f64) -> Result<String, String> {
    // `time -v` counts hundredths of a second: of fewer than ten, one more or
    // less would be most of what is said.
    if slow.min(fast) < 0.1 {
        return Err("it takes less than 0.1 s".into());
    }
    Ok(format!(
        "\tElapsed without a limit (seconds): {fast:.2}\n\tSlowdown by the limit: {:.2}",
        slow / fast
    ))
}

fn succeeded(ended: Ended, how: &str) -> Result<(), String> {
    match ended {
        Ended::Status(ExitStatus::Code(0)) => Ok(()),
        other => Err(format!("{how} it ended with {}", other.shell_code())),
    }
}

/// The report, in the manner of `time -v`.
fn lines(moved: &Figures) -> String {
    let latencies = moved.latencies.clone().unwrap_or_default();
    let (faults, batches) = (latencies.spread(FAULT), latencies.spread(STORE_BATCH));
    let counters = &moved.counters;
    let used = match counters.read_ahead {
        0 => String::new(),
        all => format!(" ({} %)", counters.read_ahead_used * 100 / all),
    };
    [
        ("Remote faults", faults.count.to_string()),
        ("Remote fault latency, p50", time(faults.p50_ns)),
        ("Remote fault latency, p99", time(faults.p99_ns)),
        ("Pages loaded", counters.pages_loaded.to_string()),
        ("Pages read ahead", counters.read_ahead.to_string()),
        (
            "Pages read ahead and used",
            format!("{}{used}", counters.read_ahead_used),
        ),
        ("Pages stored", counters.pages_stored.to_string()),
        ("Store batches", batches.count.to_string()),
        ("Store batch latency, p50", time(batches.p50_ns)),
        ("Store batch latency, p99", time(batches.p99_ns)),
        ("Pages to the swap device", counters.disk_writes.to_string()),
    ]
    .map(|(name, value)| format!("\t{name}: {value}"))
    .join("\n")
}

/// The end of what was written, for all that share it.
#[derive(Clone, Default)]
struct Tail(Arc<Mutex<Vec<u8>>>);

impl Tail {
    fn text(&self) -> String {
        let kept = self.0.lock();
        kept.map_or_else(
            |_| String::new(),
            |kept| String::from_utf8_lossy(&kept).into_owned(),
        )
    }
}

impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Ok(mut kept) = self.0.lock() {
            kept.extend_from_slice(bytes);
            let old = kept.len().saturating_sub(TAIL);
            kept.drain(..old);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes to the first, and keeps the end of it in the second.
struct Tee<W>(W, Tail);

impl<W: Write> Write for Tee<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.0.write(bytes)?;
        self.1.write(&bytes[..count])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use rapidswap_vm::swap::Counters;
    use rapidswap_vm::swap::latency::Latencies;

    use super::*;

    #[test]
    fn the_report_is_as_written_down() {
        let histograms = "fault 1310720 1441792 98\nfault 9437184 10485760 2\n\
                          store_batch 20971520 23068672 3\n";
        let moved = Figures {
            counters: Counters {
                pages_stored: 90,
                pages_loaded: 140,
                read_ahead: 40,
                read_ahead_used: 31,
                ..Counters::default()
            },
            latencies: Some(Latencies::parse(histograms)),
        };
        let expected = "\tRemote faults: 100
\tRemote fault latency, p50: 1.38 ms
\tRemote fault latency, p99: 9.96 ms
\tPages loaded: 140
\tPages read ahead: 40
\tPages read ahead and used: 31 (77 %)
\tPages stored: 90
\tStore batches: 3
\tStore batch latency, p50: 22.0 ms
\tStore batch latency, p99: 22.0 ms
\tPages to the swap device: 0";
        assert_eq!(lines(&moved), expected);
    }

    #[test]
    fn what_is_too_short_to_be_timed_has_no_slowdown() {
        for (slow, fast) in [(0.0, 0.0), (0.0, 0.01), (0.02, 0.01), (0.09, 0.3)] {
            let said = slowdown(slow, fast);
            assert_eq!(
                said,
                Err("it takes less than 0.1 s".into()),
                "{slow} {fast}"
            );
        }
        let said = slowdown(0.36, 0.12);
        assert!(said.is_ok_and(|said| said.ends_with(": 0.12\n\tSlowdown by the limit: 3.00")));
    }

    #[test]
    fn nothing_moved_has_neither_times_nor_shares() {
        let said = lines(&Figures::default());
        assert!(
            said.contains("p99: -\n") && said.contains("used: 0\n"),
            "{said}"
        );
    }

    #[test]
    fn the_end_is_kept_of_what_passes() {
        let tail = Tail::default();
        let mut tee = Tee(Vec::new(), tail.clone());
        let text = "x".repeat(TAIL) + "end";
        tee.write_all(text.as_bytes()).expect("a vector");
        assert_eq!(tee.0, text.as_bytes());
        assert!(tail.text().len() == TAIL && tail.text().ends_with("xend"));
    }
}
