//! `rapidswap top`: what a cluster does, interval after interval.

mod block;
#[cfg(test)]
mod samples;
mod screen;
mod view;

use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use crate::args::duration;
use rapidswap_vm::{Activity, Cluster, Error, Sample};

/// Less would measure the asking.
const SHORTEST: Duration = Duration::from_millis(100);

/// Reads an interval as people type it.
pub fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    match interval < SHORTEST {
        true => Err("nodes do not answer that fast: use 100ms or more".to_owned()),
        false => Ok(interval),
    }
}

/// How it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Top {
    /// How long an interval is.
    pub interval: Duration,
    /// Whether one interval is all.
    pub once: bool,
    /// Whether as one JSON object for each interval.
    pub json: bool,
}

impl Top {
    /// Shows the cluster on a terminal until somebody leaves, or writes a
    /// block for each interval until nobody reads them.
    pub fn run(self, cluster: Cluster) -> anyhow::Result<()> {
        let intervals = Intervals::begin(cluster, self.interval)?;
        if !self.once && !self.json && io::stdout().is_terminal() {
            return screen::show(intervals);
        }
        for activity in intervals {
            let mut text = match (activity?, self.json) {
                (activity, true) => serde_json::to_string(&activity)?,
                (activity, false) => block::text(&activity),
            };
            text.push('\n');
            let mut out = io::stdout().lock();
            let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            match written {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                other => other?,
            }
            if self.once {
                break;
            }
        }
        Ok(())
    }
}

/// What a cluster did in each interval, one after the other, for as long as
/// the cluster runs.
struct Intervals {
    cluster: Cluster,
    interval: Duration,
    last: Sample,
    next: Instant,
}

impl Intervals {
    fn begin(cluster: Cluster, interval: Duration) -> Result<Intervals, Error> {
        let last = Sample::of(&cluster)?;
        Ok(Intervals {
            cluster,
            interval,
            last,
            next: Instant::now() + interval,
        })
    }
}

impl Iterator for Intervals {
    type Item = Result<Activity, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        // The pace that was asked for, unless the nodes are slower than that.
        thread::sleep(self.next.saturating_duration_since(Instant::now()));
        self.next = (self.next + self.interval).max(Instant::now());
        let sample = match Sample::of(&self.cluster) {
            Ok(sample) => sample,
            Err(error) => return Some(Err(error)),
        };
        let activity = sample.since(&self.last);
        self.last = sample;
        Some(Ok(activity))
    }
}
