//! Whether a client that says nothing is still there.
//!
//! A client that loses power never says goodbye, and a server that only waits
//! would keep its memory for ever. So now and then an empty WRITE asks its
//! adapter. Time is counted in intervals, not on a clock: after the server
//! itself was stopped for a while, a client gets its whole time again.

use std::time::Duration;

/// How often clients are asked.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// Intervals without an answer after which a client counts as gone.
const PATIENCE: u32 = 12;

/// What is known of one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Liveness {
    asked: u64,
    waiting: Option<u32>,
}

/// What to do at the end of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Post an empty WRITE with this number.
    Ask(u64),
    /// The last one is still out.
    Wait,
    /// It has been out for too long.
    Dead,
}

impl Liveness {
    /// A new session: what was asked in the old one means nothing.
    pub fn restart(&mut self) {
        self.asked += 1;
        self.waiting = None;
    }

    /// The WRITE with this number is done; whether the client is still there.
    /// Those of an older session say nothing about this one.
    pub fn answered(&mut self, number: u64, well: bool) -> bool {
        if number != self.asked {
            return true;
        }
        self.waiting = None;
        well
    }

    /// An interval has passed.
    pub fn tick(&mut self) -> Verdict {
        match self.waiting {
            None => {
                self.asked += 1;
                self.waiting = Some(0);
                Verdict::Ask(self.asked)
            }
            Some(waited) if waited >= PATIENCE => Verdict::Dead,
            Some(waited) => {
                self.waiting = Some(waited + 1);
                Verdict::Wait
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_question_at_a_time_and_patience() {
        let mut l = Liveness::default();
        assert_eq!(l.tick(), Verdict::Ask(1));
        assert_eq!(l.tick(), Verdict::Wait);
        assert!(l.answered(1, true));
        assert_eq!(l.tick(), Verdict::Ask(2));
        assert!(l.answered(1, false), "not the one that is out");
        for _ in 0..PATIENCE {
            assert_eq!(l.tick(), Verdict::Wait);
        }
        assert_eq!(l.tick(), Verdict::Dead);
        l.restart();
        assert!(l.answered(2, false), "of the session before");
        assert_eq!(l.tick(), Verdict::Ask(4));
        assert!(!l.answered(4, false));
    }
}
