//! What happens while something long goes on.

use serde::{Deserialize, Serialize};

/// Something that happened. As JSON each is one object, told apart by `event`;
/// `docs/events.md` describes them. Names stay, and others may be added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A step has begun.
    StepStarted {
        /// Tells steps of one name apart.
        id: u64,
        /// What it is called.
        step: String,
        /// How long it should take, in seconds.
        expect_s: f64,
    },
    /// A part of a step is done.
    StepProgress {
        /// Which step.
        id: u64,
        /// What it is called.
        step: String,
        /// How much of it, from 0 to 1.
        fraction: f64,
    },
    /// What a step does just now.
    StepMessage {
        /// Which step.
        id: u64,
        /// What it is called.
        step: String,
        /// For people.
        text: String,
    },
    /// A step is over.
    StepEnded {
        /// Which step.
        id: u64,
        /// What it is called.
        step: String,
        /// Whether it did what it should.
        ok: bool,
        /// How it ended, for people.
        outcome: String,
        /// How long it took, in seconds.
        seconds: f64,
    },
    /// A line for the reader.
    Note {
        /// For people.
        text: String,
    },
    /// A node's kernel complained.
    KernelFault {
        /// The node.
        node: String,
        /// The sort of fault.
        kind: String,
        /// The line on its console, from 1.
        line: usize,
        /// What is on it.
        text: String,
    },
    /// A node will not come back.
    NodeGone {
        /// The node.
        node: String,
        /// What it ended as.
        outcome: String,
        /// Why, for people.
        reason: String,
    },
    /// All is over; the last event.
    Ended {
        /// The exit status.
        code: u8,
        /// What that means, if it is one of those that all programs here have.
        outcome: Option<String>,
        /// The node at which something went wrong, if it was one.
        node: Option<String>,
        /// What went wrong, if something did.
        error: Option<String>,
    },
}

/// An event, and when it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// Seconds since 1970 began.
    pub time: f64,
    /// What it was.
    #[serde(flatten)]
    pub event: Event,
}

impl Stamped {
    /// An event that happens now.
    pub(crate) fn now(event: Event) -> Stamped {
        let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        Stamped {
            time: since.as_secs_f64(),
            event,
        }
    }

    /// It as a line of JSON, with its end.
    pub(crate) fn line(&self) -> String {
        // Text and finite numbers are always JSON.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}
