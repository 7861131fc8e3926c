//! Waiting for conditions instead of sleeping, and saying for what it was in vain.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use rapidswap_vm::wait;

const POLL: Duration = Duration::from_millis(100);

/// What was waited for did not come in its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedOut {
    /// What was waited for.
    pub what: String,
    /// For how long.
    pub limit: Duration,
}

impl TimedOut {
    fn of(what: &str, limit: Duration) -> TimedOut {
        let what = what.to_owned();
        TimedOut { what, limit }
    }
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TimedOut { what, limit } = self;
        write!(f, "waited {:.0} s for {what} in vain", limit.as_secs_f64())
    }
}

impl std::error::Error for TimedOut {}

/// Polls until `condition` holds and returns what it found; says `what` was
/// waited for when `limit` has passed.
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let found = wait::poll(POLL, limit, condition)?;
    found.ok_or_else(|| TimedOut::of(what, limit).into())
}

/// Does what a node that hangs would not come back from.
pub fn within(
    what: &str,
    limit: Duration,
    act: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<()> {
    let done = wait::within(limit, act);
    done.unwrap_or_else(|| Err(TimedOut::of(what, limit).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_true_ends_the_wait() {
        let mut left = 3;
        let found = wait_until("a countdown", Duration::from_secs(60), || {
            left -= 1;
            Ok((left == 0).then_some("there"))
        });
        assert_eq!(found.expect("in time"), "there");
    }

    #[test]
    fn one_that_does_not_is_named() {
        let error = wait_until("rain", Duration::ZERO, || Ok(None::<()>)).expect_err("too late");
        assert_eq!(error.to_string(), "waited 0 s for rain in vain");
    }
}
