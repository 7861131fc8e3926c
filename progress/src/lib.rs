//! How long steps report themselves: as events, which a terminal shows as bars
//! with an estimate, a pipe as plain lines, a program reads as JSON and a log
//! keeps. All of it is on stderr: stdout belongs to results.
//!
//! Estimates come from this machine: the time each step took when it last
//! succeeded is remembered in the cache directory.

#![forbid(unsafe_code)]

mod consumer;
mod event;
mod history;

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use consumer::{Bars, Consumer, Json, Lines};
pub use event::{Event, Stamped};
use history::History;

/// What says in which form events go to stderr, where no option does.
const VARIABLE: &str = "RAPIDSWAP_EVENTS";

/// In which form events go to stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Events {
    /// For people: bars on a terminal, plain lines otherwise.
    #[default]
    Text,
    /// A line of JSON each, and nothing else.
    Json,
}

impl FromStr for Events {
    type Err = String;

    fn from_str(text: &str) -> Result<Events, String> {
        match text {
            "text" => Ok(Events::Text),
            "json" => Ok(Events::Json),
            _ => Err(format!("`{text}` is no form of events: use text or json")),
        }
    }
}

/// Where steps report to. Cheap to clone; usable from any thread.
#[derive(Clone, Debug)]
pub struct Reporter {
    stream: Arc<Mutex<Stream>>,
    history: Arc<History>,
    next: Arc<AtomicU64>,
    is_json: bool,
}

/// Events, and who reads them.
#[derive(Debug, Default)]
struct Stream {
    consumers: Vec<Box<dyn Consumer>>,
    /// What a log that is opened later has to have.
    past: Vec<Stamped>,
}

impl Reporter {
    /// In the form that `$RAPIDSWAP_EVENTS` names, else for people.
    pub fn auto() -> Reporter {
        let form = std::env::var(VARIABLE).ok();
        let form = form.and_then(|form| form.parse().ok());
        Reporter::new(form.unwrap_or_default())
    }

    /// In a form.
    pub fn new(form: Events) -> Reporter {
        let consumer: Box<dyn Consumer> = match form {
            Events::Json => Box::new(Json(io::stderr())),
            Events::Text if io::stderr().is_terminal() => Box::<Bars>::default(),
            Events::Text => Box::new(Lines),
        };
        let reporter = Reporter::with(vec![consumer], History::open_default());
        Reporter {
            is_json: form == Events::Json,
            ..reporter
        }
    }

    /// Reports nothing and remembers nothing; for tests and for callers that
    /// only want the result.
    pub fn silent() -> Reporter {
        Reporter::with(Vec::new(), History::open(None))
    }

    /// Reports to a channel and remembers nothing.
    pub fn channel() -> (Reporter, Receiver<Event>) {
        let (sender, receiver) = channel();
        let reporter = Reporter::with(vec![Box::new(sender)], History::open(None));
        (reporter, receiver)
    }

    fn with(consumers: Vec<Box<dyn Consumer>>, history: History) -> Reporter {
        let stream = Stream {
            consumers,
            past: Vec::new(),
        };
        Reporter {
            stream: Arc::new(Mutex::new(stream)),
            history: Arc::new(history),
            next: Arc::default(),
            is_json: false,
        }
    }

    /// Whether stderr is for programs, and nothing but events may go there.
    pub fn is_json(&self) -> bool {
        self.is_json
    }

    /// Keeps a log as well, of what has been and of what is to come: a line of
    /// JSON for each event.
    pub fn log_to(&self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        let mut stream = self.stream.lock().unwrap_or_else(|e| e.into_inner());
        for stamped in &stream.past {
            file.write_all(stamped.line().as_bytes())?;
        }
        stream.consumers.push(Box::new(Json(file)));
        Ok(())
    }

    /// Starts a step. `expect` is the estimate until this machine has its own
    /// measurement of a step of that name.
    pub fn step(&self, name: &str, expect: Duration) -> Step {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let expect = self.history.last(name).unwrap_or(expect);
        self.say(Event::StepStarted {
            id,
            step: name.to_owned(),
            expect_s: expect.as_secs_f64(),
        });
        Step {
            reporter: self.clone(),
            id,
            name: name.to_owned(),
            started: Instant::now(),
            finished: false,
        }
    }

    /// One line for the reader, between steps or beside them.
    pub fn note(&self, text: &str) {
        self.say(Event::Note {
            text: text.to_owned(),
        });
    }

    /// Says why `program` failed, which ends with 1 for that: by an event, or on
    /// a line.
    pub fn failed(&self, program: &str, error: &str) {
        self.say(Event::Ended {
            code: 1,
            outcome: None,
            node: None,
            error: Some(error.to_owned()),
        });
        if !self.is_json {
            // A closed stderr is no reason for another failure.
            let _ = writeln!(io::stderr(), "{program}: {error}");
        }
    }

    /// Any event, for what no step and no note is.
    pub fn say(&self, event: Event) {
        let stamped = Stamped::now(event);
        let mut stream = self.stream.lock().unwrap_or_else(|e| e.into_inner());
        for consumer in &mut stream.consumers {
            consumer.take(&stamped);
        }
        // There may be thousands, and the end of the step says it all.
        if !matches!(stamped.event, Event::StepProgress { .. }) {
            stream.past.push(stamped);
        }
    }
}

/// One running step; dropped without [`Step::done`] it is reported as failed.
#[derive(Debug)]
pub struct Step {
    reporter: Reporter,
    id: u64,
    name: String,
    started: Instant,
    finished: bool,
}

impl Step {
    /// How much of the step is done, 0.0 to 1.0. The remaining time shown
    /// follows from it and from how long the step took last time.
    pub fn fraction(&self, done: f64) {
        self.reporter.say(Event::StepProgress {
            id: self.id,
            step: self.name.clone(),
            fraction: done.clamp(0.0, 1.0),
        });
    }

    /// What is being done just now.
    pub fn message(&self, text: &str) {
        self.reporter.say(Event::StepMessage {
            id: self.id,
            step: self.name.clone(),
            text: text.to_owned(),
        });
    }

    /// Ends the step well and remembers its time, unless `outcome` says that
    /// it was `cached`. Returns the time it took.
    pub fn done(mut self, outcome: &str) -> Duration {
        let took = self.started.elapsed();
        self.finished = true;
        if outcome != "cached" {
            self.reporter.history.record(&self.name, took);
        }
        self.end(true, outcome, took);
        took
    }

    fn end(&self, ok: bool, outcome: &str, took: Duration) {
        self.reporter.say(Event::StepEnded {
            id: self.id,
            step: self.name.clone(),
            ok,
            outcome: outcome.to_owned(),
            seconds: took.as_secs_f64(),
        });
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.finished {
            self.end(false, "failed", self.started.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_begins_goes_on_and_ends() {
        let (reporter, events) = Reporter::channel();
        let step = reporter.step("boot", Duration::from_secs(6));
        step.fraction(0.5);
        step.message("client is up");
        step.done("2 nodes are up");
        drop(reporter.step("link proof", Duration::from_secs(2)));
        reporter.note("no link");
        drop(reporter);
        let seen: Vec<_> = events.iter().collect();
        let boot = || "boot".to_owned();
        assert_eq!(seen.len(), 7, "{seen:?}");
        let started = Event::StepStarted {
            id: 0,
            step: boot(),
            expect_s: 6.0,
        };
        assert_eq!(seen[0], started);
        assert!(matches!(
            &seen[1],
            Event::StepProgress { fraction: 0.5, .. }
        ));
        assert!(matches!(&seen[2], Event::StepMessage { text, .. } if text == "client is up"));
        assert!(matches!(
            &seen[3],
            Event::StepEnded {
                id: 0,
                ok: true,
                ..
            }
        ));
        assert!(matches!(
            &seen[5],
            Event::StepEnded {
                id: 1,
                ok: false,
                ..
            }
        ));
    }

    #[test]
    fn events_are_as_written_down() {
        let page = include_str!("../../docs/events.md");
        let of = |event| {
            let mut value = serde_json::to_value(Stamped { time: 0.5, event }).expect("JSON");
            let names = value.as_object_mut().expect("an object");
            let name = names.remove("event").expect("a name");
            (
                name.as_str().expect("text").to_owned(),
                names.keys().cloned().collect::<Vec<_>>(),
            )
        };
        let step = || "boot".to_owned();
        let (id, text) = (1, String::new());
        for event in [
            Event::StepStarted {
                id,
                step: step(),
                expect_s: 1.0,
            },
            Event::StepProgress {
                id,
                step: step(),
                fraction: 1.0,
            },
            Event::StepMessage {
                id,
                step: step(),
                text: text.clone(),
            },
            Event::StepEnded {
                id,
                step: step(),
                ok: true,
                outcome: text.clone(),
                seconds: 1.0,
            },
            Event::Note { text: text.clone() },
            Event::KernelFault {
                node: text.clone(),
                kind: text.clone(),
                line: 1,
                text: text.clone(),
            },
            Event::NodeGone {
                node: text.clone(),
                outcome: text.clone(),
                reason: text,
            },
            Event::Ended {
                code: 0,
                outcome: None,
                node: None,
                error: None,
            },
        ] {
            let (name, keys) = of(event);
            let row = page
                .lines()
                .find(|line| line.starts_with(&format!("| `{name}` |")));
            let row = row.unwrap_or_else(|| panic!("docs/events.md has no row for {name}"));
            for key in keys.iter().filter(|key| *key != "time") {
                assert!(row.contains(&format!("`{key}`")), "{name}: {key}");
            }
        }
    }

    #[test]
    fn a_log_has_what_was_before_it() {
        let dir = tempfile::tempdir().expect("directory");
        let log = dir.path().join("events.jsonl");
        let reporter = Reporter::silent();
        reporter.note("before");
        reporter.log_to(&log).expect("a log");
        reporter.note("after");
        let text = std::fs::read_to_string(log).expect("readable");
        let events = text.lines().map(|line| {
            let stamped: Stamped = serde_json::from_str(line).expect("JSON");
            assert!(stamped.time > 1e9);
            stamped.event
        });
        let note = |text: &str| Event::Note { text: text.into() };
        assert_eq!(events.collect::<Vec<_>>(), [note("before"), note("after")]);
    }

    #[test]
    fn forms_have_names() {
        assert_eq!("json".parse(), Ok(Events::Json));
        assert!("xml".parse::<Events>().is_err());
    }
}
