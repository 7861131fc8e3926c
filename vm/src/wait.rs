//! Waiting for what nothing announces, and asking what may never answer.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Looks at a condition until it holds, with pauses of `every` in between, and
/// gives what it found; `None` if it does not hold when `limit` has passed.
pub fn poll<T, E>(
    every: Duration,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = condition()? {
            return Ok(Some(found));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(every);
    }
}

/// [`poll`]s as often as is fit for what is at hand.
pub(crate) fn wait_until<T>(
    limit: Duration,
    condition: impl FnMut() -> crate::Result<Option<T>>,
) -> crate::Result<Option<T>> {
    poll(Duration::from_millis(20), limit, condition)
}

/// Does `work` on a thread of its own and waits for it no longer than
/// `limit`; `None` if it is not done by then. It is left to itself in that
/// case, and ends when what it waits for does.
///
/// # Panics
///
/// If it does, or there is no room for a thread.
pub fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, result) = channel();
    let thread = thread::spawn(move || {
        // Nobody waits any more when the receiver is gone.
        let _ = sender.send(work());
    });
    match result.recv_timeout(limit) {
        Ok(done) => Some(done),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => resume_unwind(panic),
            Ok(()) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_time_counts_and_a_later_one_does_not() {
        assert_eq!(within(Duration::from_secs(60), || 7), Some(7));
        let (_never, waits) = channel::<()>();
        assert_eq!(within(Duration::ZERO, move || waits.recv()), None);
    }
}
