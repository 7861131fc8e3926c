//! How long steps report themselves: bars with an estimate when stderr is a
//! terminal, one plain line at each start and end otherwise. Nothing is ever
//! written to stdout, which belongs to results.
//!
//! Estimates come from this machine: the time each step took when it last
//! succeeded is remembered in the cache directory.

#![forbid(unsafe_code)]

mod history;

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use history::History;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Bars count in thousandths of a step.
const RESOLUTION: u64 = 1000;

/// Where steps report to. Cheap to clone; usable from any thread.
#[derive(Clone, Debug)]
pub struct Reporter {
    sink: Sink,
    history: Arc<History>,
}

#[derive(Clone, Debug)]
enum Sink {
    Bars(MultiProgress),
    Lines,
    Silent,
}

impl Reporter {
    /// Bars when stderr is a terminal, plain lines otherwise.
    pub fn auto() -> Reporter {
        let sink = if std::io::stderr().is_terminal() {
            Sink::Bars(MultiProgress::new())
        } else {
            Sink::Lines
        };
        Reporter {
            sink,
            history: Arc::new(History::open_default()),
        }
    }

    /// Reports nothing and remembers nothing; for tests and for callers that
    /// only want the result.
    pub fn silent() -> Reporter {
        Reporter {
            sink: Sink::Silent,
            history: Arc::new(History::open(None)),
        }
    }

    /// Starts a step. `expect` is the estimate until this machine has its own
    /// measurement of a step of that name.
    pub fn step(&self, name: &str, expect: Duration) -> Step {
        let expect = self.history.last(name).unwrap_or(expect);
        let bar = match &self.sink {
            Sink::Bars(bars) => {
                let bar = bars.add(ProgressBar::new(RESOLUTION));
                bar.set_style(style());
                bar.set_prefix(name.to_owned());
                bar.set_message(format!("about {} in all", human(expect)));
                bar.enable_steady_tick(Duration::from_millis(200));
                Some(bar)
            }
            Sink::Lines => {
                line(&format!("{name}: started, about {}", human(expect)));
                None
            }
            Sink::Silent => None,
        };
        Step {
            reporter: self.clone(),
            name: name.to_owned(),
            expect,
            started: Instant::now(),
            bar,
            finished: false,
        }
    }

    /// One line for the reader, between steps or beside them.
    pub fn note(&self, text: &str) {
        match &self.sink {
            // A failing println means that nobody can read it.
            Sink::Bars(bars) => drop(bars.println(text)),
            Sink::Lines => line(text),
            Sink::Silent => {}
        }
    }
}

/// One running step; dropped without [`Step::done`] it is reported as failed.
#[derive(Debug)]
pub struct Step {
    reporter: Reporter,
    name: String,
    expect: Duration,
    started: Instant,
    bar: Option<ProgressBar>,
    finished: bool,
}

impl Step {
    /// How much of the step is done, 0.0 to 1.0. The remaining time shown
    /// follows from it and from how long the step took last time.
    pub fn fraction(&self, done: f64) {
        let Some(bar) = &self.bar else { return };
        let done = done.clamp(0.0, 1.0);
        bar.set_position((done * RESOLUTION as f64) as u64);
        let left = remaining(self.expect, self.started.elapsed(), done);
        bar.set_message(format!("about {} left", human(left)));
    }

    /// What is being done just now.
    pub fn message(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => {
                if matches!(self.reporter.sink, Sink::Lines) {
                    line(&format!("{}: {text}", self.name));
                }
            }
        }
    }

    /// Ends the step well and remembers its time, unless `outcome` says that
    /// it was `cached`. Returns the time it took.
    pub fn done(mut self, outcome: &str) -> Duration {
        let took = self.started.elapsed();
        self.finished = true;
        if outcome != "cached" {
            self.reporter.history.record(&self.name, took);
        }
        self.end(outcome, took);
        took
    }

    fn end(&self, outcome: &str, took: Duration) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.reporter
            .note(&format!("{}: {outcome} ({})", self.name, human(took)));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.finished {
            self.end("failed", self.started.elapsed());
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix} [{bar:24}] {elapsed} {wide_msg}")
        .expect("the template is constant and valid")
        .progress_chars("=> ")
}

/// Writes a line to stderr. A closed stderr is no reason to fail a build.
fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Time left: by extrapolation once a tenth is done, by history before that.
fn remaining(expect: Duration, elapsed: Duration, done: f64) -> Duration {
    if done >= 0.1 {
        elapsed.mul_f64((1.0 - done) / done)
    } else {
        expect.saturating_sub(elapsed)
    }
}

/// A duration as people say it: `0.4 s`, `12 s`, `3 min 20 s`.
fn human(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 10.0 {
        format!("{seconds:.1} s")
    } else if seconds < 99.5 {
        format!("{seconds:.0} s")
    } else {
        let whole = seconds.round() as u64;
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_speech() {
        assert_eq!(human(Duration::from_millis(420)), "0.4 s");
        assert_eq!(human(Duration::from_secs(12)), "12 s");
        assert_eq!(human(Duration::from_secs(200)), "3 min 20 s");
    }

    #[test]
    fn time_left_follows_history_then_progress() {
        let expect = Duration::from_secs(100);
        let early = remaining(expect, Duration::from_secs(10), 0.01);
        assert_eq!(early, Duration::from_secs(90));
        let late = remaining(expect, Duration::from_secs(30), 0.5);
        assert_eq!(late, Duration::from_secs(30));
    }
}
