//! Asking what may never answer.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// Does `work` on a thread of its own and waits for it no longer than
/// `limit`; `None` if it is not done by then. It is left to itself in that
/// case, and ends when what it waits for does.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, result) = channel();
    let thread = thread::Builder::new().name("within".into()).spawn(move || {
        // Nobody waits any more when the receiver is gone.
        let _ = sender.send(work());
    });
    thread.ok()?;
    result.recv_timeout(limit).ok()
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
