//! Who reads events: a terminal, a reader of lines, a program, a log, a test.

use std::collections::HashMap;
use std::fmt::Debug;
use std::io::Write;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::event::{Event, Stamped};

/// Bars count in thousandths of a step.
const RESOLUTION: u64 = 1000;

/// Reads events as they happen.
pub(crate) trait Consumer: Debug + Send {
    /// One event.
    fn take(&mut self, stamped: &Stamped);
}

/// Bars on a terminal, with an estimate.
#[derive(Debug, Default)]
pub(crate) struct Bars {
    bars: MultiProgress,
    running: HashMap<u64, Bar>,
}

#[derive(Debug)]
struct Bar {
    bar: ProgressBar,
    expect: Duration,
    started: Instant,
}

impl Bars {
    fn start(&mut self, id: u64, step: &str, expect: Duration) {
        let bar = self.bars.add(ProgressBar::new(RESOLUTION));
        bar.set_style(style());
        bar.set_prefix(step.to_owned());
        bar.set_message(format!("about {} in all", human(expect)));
        bar.enable_steady_tick(Duration::from_millis(200));
        let started = Instant::now();
        self.running.insert(
            id,
            Bar {
                bar,
                expect,
                started,
            },
        );
    }

    fn say(&self, text: &str) {
        // A failing println means that nobody can read it.
        let _ = self.bars.println(text);
    }
}

impl Consumer for Bars {
    fn take(&mut self, stamped: &Stamped) {
        match &stamped.event {
            Event::StepStarted { id, step, expect_s } => {
                self.start(*id, step, seconds(*expect_s));
            }
            Event::StepProgress { id, fraction, .. } => {
                if let Some(of) = self.running.get(id) {
                    of.bar.set_position((fraction * RESOLUTION as f64) as u64);
                    let left = remaining(of.expect, of.started.elapsed(), *fraction);
                    of.bar.set_message(format!("about {} left", human(left)));
                }
            }
            Event::StepMessage { id, text, .. } => {
                if let Some(of) = self.running.get(id) {
                    of.bar.set_message(text.clone());
                }
            }
            Event::StepEnded { id, .. } => {
                if let Some(of) = self.running.remove(id) {
                    of.bar.finish_and_clear();
                }
                self.say(&ended(&stamped.event));
            }
            Event::Note { text } => self.say(text),
            Event::KernelFault { .. } | Event::NodeGone { .. } | Event::Ended { .. } => {}
        }
    }
}

/// Plain lines, for a log or a pipe.
#[derive(Debug)]
pub(crate) struct Lines;

impl Consumer for Lines {
    fn take(&mut self, stamped: &Stamped) {
        match &stamped.event {
            Event::StepStarted { step, expect_s, .. } => {
                line(&format!(
                    "{step}: started, about {}",
                    human(seconds(*expect_s))
                ));
            }
            Event::StepMessage { step, text, .. } => line(&format!("{step}: {text}")),
            Event::StepEnded { .. } => line(&ended(&stamped.event)),
            Event::Note { text } => line(text),
            // Who fails by those says so on a line.
            Event::StepProgress { .. }
            | Event::KernelFault { .. }
            | Event::NodeGone { .. }
            | Event::Ended { .. } => {}
        }
    }
}

/// A line of JSON for each event.
#[derive(Debug)]
pub(crate) struct Json<W>(pub(crate) W);

impl<W: Write + Debug + Send> Consumer for Json<W> {
    fn take(&mut self, stamped: &Stamped) {
        // One that nobody takes is no reason to fail.
        let _ = self.0.write_all(stamped.line().as_bytes());
    }
}

/// Another thread.
impl Consumer for Sender<Event> {
    fn take(&mut self, stamped: &Stamped) {
        let _ = self.send(stamped.event.clone());
    }
}

/// The end of a step as a line.
fn ended(event: &Event) -> String {
    match event {
        Event::StepEnded {
            step,
            outcome,
            seconds: took,
            ..
        } => format!("{step}: {outcome} ({})", human(seconds(*took))),
        _ => String::new(),
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
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
