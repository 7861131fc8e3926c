// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! The life of the connection to the server, as the module lives it.
//!
//! ```text
//!            back-off over          both queue pairs up, table read
//!  Resting ----------------> Connecting ---------------------------> Up
//!     ^                          |                                   |
//!     | all requests back        | failure, timeout, stop            |
//!     +--------------------- Draining <------------------------------+
//!                                | stopped meanwhile
//!                                v
//!                             Stopped
//! ```
//!
//! Pure: the driver reports what happened and when, and carries out the one
//! [`Action`] it is given. Times are milliseconds of any clock that never goes
//! back. Events that come too late to mean anything are answered with
//! [`Action::None`], so the driver need not know which those are.

/// First pause between attempts.
pub const BACKOFF_MIN_MS: u64 = 100;
/// Longest pause between attempts.
pub const BACKOFF_MAX_MS: u64 = 5_000;
/// What an attempt may take, from the first request to both queue pairs up. The
/// server registers all its memory anew for each, and a new attempt would make
/// it begin again, so this is for much memory rather than for a quick retry.
pub const CONNECT_TIMEOUT_MS: u64 = 30_000;

/// Names the contents of the server's memory: equal values, equal contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The server process.
    pub epoch: u64,
    /// Its allocation to this client.
    pub lease: u64,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time passed.
    Tick,
    /// The load queue pair is established, on this lease.
    LoadUp(Lease),
    /// The chunk table was READ and fits the answer.
    TableRead,
    /// The store queue pair is established.
    StoreUp,
    /// Rejected, disconnected, a request failed or is overdue, a device left.
    Failed,
    /// After [`Action::TearDown`]: every request has come back.
    Drained,
    /// The module is to let go for good.
    Stop,
}

/// What the driver has to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// Connect the load queue pair with [`Session::number`], higher than every one before.
    Connect,
    /// READ the chunk table over the load queue pair.
    ReadTable,
    /// Connect the store queue pair with the same session number.
    JoinStore,
    /// Stores and loads may be posted from now on.
    Open {
        /// First declare lost all that was stored: this memory is another.
        lose: bool,
    },
    /// Stop posting, put both queue pairs to error, wait until every request
    /// has come back, and report [`Event::Drained`].
    TearDown {
        /// First tell the server that the lease is not needed any more.
        release: bool,
    },
    /// Nothing is left of the session; no event will change that.
    Finished,
}

/// Where the session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Resting { until: u64 },
    Connecting { deadline: u64, step: Step },
    Up { since: u64 },
    Draining,
    Stopped,
}

/// What an attempt waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Load,
    Table,
    Store,
}

/// The session's state machine.
///
/// # Invariants
///
/// `number` is the session number of the latest [`Action::Connect`] and only
/// grows. `lease` names the memory that stored pages were written to, and is
/// set from the first [`Action::Open`] on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    state: State,
    number: u64,
    backoff: u64,
    offered: Option<Lease>,
    lease: Option<Lease>,
    stopping: bool,
}

impl Session {
    /// A session whose first attempt is due at once.
    pub const fn new(now: u64) -> Session {
        Session {
            state: State::Resting { until: now },
            number: 0,
            backoff: BACKOFF_MIN_MS,
            offered: None,
            lease: None,
            stopping: false,
        }
    }

    /// Takes in an event and says what to do.
    pub fn on(&mut self, event: Event, now: u64) -> Action {
        match (self.state, event) {
            (_, Event::Stop) => self.stop(),
            (State::Resting { until }, Event::Tick) if now >= until => self.connect(now),
            (State::Connecting { deadline, .. }, Event::Tick) if now >= deadline => {
                self.tear_down(now)
            }
            (
                State::Connecting {
                    deadline,
                    step: Step::Load,
                },
                Event::LoadUp(lease),
            ) => {
                self.offered = Some(lease);
                self.advance(deadline, Step::Table, Action::ReadTable)
            }
            (
                State::Connecting {
                    deadline,
                    step: Step::Table,
                },
                Event::TableRead,
            ) => self.advance(deadline, Step::Store, Action::JoinStore),
            (
                State::Connecting {
                    step: Step::Store, ..
                },
                Event::StoreUp,
            ) => self.open(now),
            (State::Connecting { .. } | State::Up { .. }, Event::Failed) => self.tear_down(now),
            (State::Draining, Event::Drained) => self.drained(now),
            _ => Action::None,
        }
    }

    /// When [`Event::Tick`] is next needed; `None`: only other events matter.
    pub fn wake_at(&self) -> Option<u64> {
        match self.state {
            State::Resting { until } => Some(until),
            State::Connecting { deadline, .. } => Some(deadline),
            State::Up { .. } | State::Draining | State::Stopped => None,
        }
    }

    /// The number of the present or latest attempt; 0 before the first.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether pages move.
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// The word for it in the status file.
    pub fn name(&self) -> &'static str {
        match self.state {
            State::Up { .. } => "up",
            State::Resting { .. } | State::Connecting { .. } if self.lease.is_none() => {
                "connecting"
            }
            _ => "down",
        }
    }

    fn connect(&mut self, now: u64) -> Action {
        // INVARIANT: grows with each attempt; 2^64 of them do not happen.
        self.number = self.number.saturating_add(1);
        self.offered = None;
        let deadline = now.saturating_add(CONNECT_TIMEOUT_MS);
        self.state = State::Connecting {
            deadline,
            step: Step::Load,
        };
        Action::Connect
    }

    fn advance(&mut self, deadline: u64, step: Step, action: Action) -> Action {
        self.state = State::Connecting { deadline, step };
        action
    }

    fn open(&mut self, now: u64) -> Action {
        let lose = self.lease.is_some() && self.lease != self.offered;
        // INVARIANT: the driver loses the old contents before it posts a store.
        self.lease = self.offered;
        self.state = State::Up { since: now };
        Action::Open { lose }
    }

    fn tear_down(&mut self, now: u64) -> Action {
        // A session that lasted earns a quick retry; one that keeps falling
        // over does not.
        if let State::Up { since } = self.state {
            if now.saturating_sub(since) >= BACKOFF_MAX_MS {
                self.backoff = BACKOFF_MIN_MS;
            }
        }
        self.state = State::Draining;
        Action::TearDown { release: false }
    }

    fn drained(&mut self, now: u64) -> Action {
        if self.stopping {
            self.state = State::Stopped;
            return Action::Finished;
        }
        self.state = State::Resting {
            until: now.saturating_add(self.backoff),
        };
        self.backoff = self.backoff.saturating_mul(2).min(BACKOFF_MAX_MS);
        Action::None
    }

    fn stop(&mut self) -> Action {
        self.stopping = true;
        match self.state {
            State::Resting { .. } | State::Stopped => {
                self.state = State::Stopped;
                Action::Finished
            }
            State::Up { .. } => {
                self.state = State::Draining;
                Action::TearDown { release: true }
            }
            State::Connecting { .. } => {
                self.state = State::Draining;
                Action::TearDown { release: false }
            }
            State::Draining => Action::None,
        }
    }
}
