//! What a QEMU's events mean for its node.

use crate::cluster::status::Gone;
use crate::outcome::Outcome;
use crate::qemu::qmp::Event;

/// What becomes of a node.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It will not come back.
    Gone(Gone),
    /// Its kernel panics, and has yet to say so on its console and to restart,
    /// which is its end.
    Panics,
    /// Its processors are stopped.
    Paused,
    /// They go on.
    Running,
}

impl Fate {
    fn gone(outcome: Outcome, reason: impl Into<String>) -> Option<Fate> {
        Some(Fate::Gone(Gone {
            outcome,
            reason: reason.into(),
        }))
    }
}

/// What a node whose kernel panicked has come to.
pub(super) fn panicked() -> Gone {
    Gone {
        outcome: Outcome::GuestPanic,
        reason: "its kernel panicked".into(),
    }
}

/// The fate after an event; none if it changes nothing. `panics` says whether
/// pvpanic or the console reported a panic.
pub(super) fn fate(event: &Event, panics: impl FnOnce() -> bool) -> Option<Fate> {
    match event {
        Event::GuestPanicked => Some(Fate::Panics),
        Event::Shutdown(reason) => match reason.as_str() {
            // A panic restarts the machine, and is told by the console alone
            // where there is no pvpanic.
            "guest-reset" if panics() => Some(Fate::Gone(panicked())),
            "guest-reset" => Fate::gone(Outcome::GuestPanic, "its kernel rebooted"),
            "guest-shutdown" => Fate::gone(Outcome::TestFailed, "it was shut down"),
            other => Fate::gone(
                Outcome::InfrastructureFailed,
                format!("its QEMU shut down ({other})"),
            ),
        },
        Event::Resume => Some(Fate::Running),
        Event::Stop(status) => match status.as_str() {
            "internal-error" => Fate::gone(
                Outcome::InfrastructureFailed,
                "its processor stopped with an internal error",
            ),
            "paused" => Some(Fate::Paused),
            // Running again, or an event that says more follows.
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::qmp::Qmp;
    use serde_json::{Value, json};
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    const SOON: Duration = Duration::from_secs(10);

    fn of(event: Event, panics: bool) -> Option<Fate> {
        fate(&event, || panics)
    }

    fn stop(status: &str) -> Option<Fate> {
        of(Event::Stop(status.to_owned()), false)
    }

    fn outcome(fate: Option<Fate>) -> (Outcome, String) {
        match fate {
            Some(Fate::Gone(gone)) => (gone.outcome, gone.reason),
            other => panic!("not gone: {other:?}"),
        }
    }

    #[test]
    fn a_processor_that_stopped_with_an_internal_error_is_no_pause() {
        let (ended, reason) = outcome(stop("internal-error"));
        assert_eq!(ended, Outcome::InfrastructureFailed);
        assert!(reason.contains("internal error"), "{reason}");
        assert_eq!(stop("paused"), Some(Fate::Paused));
        // The panic's own event has said it, or will.
        assert_eq!(stop("guest-panicked"), None);
        assert_eq!(of(Event::Resume, false), Some(Fate::Running));
    }

    #[test]
    fn a_panic_ends_when_the_kernel_restarts() {
        let reset = || Event::Shutdown("guest-reset".into());
        assert_eq!(of(Event::GuestPanicked, false), Some(Fate::Panics));
        let panicked = (Outcome::GuestPanic, "its kernel panicked".to_owned());
        assert_eq!(outcome(of(reset(), true)), panicked);
        let (_, reason) = outcome(of(reset(), false));
        assert_eq!(reason, "its kernel rebooted");
    }

    #[test]
    fn an_end_from_outside_is_the_infrastructures() {
        let quit = Event::Shutdown("host-qmp-quit".into());
        assert_eq!(outcome(of(quit, false)).0, Outcome::InfrastructureFailed);
    }

    /// A QEMU that stops with an internal error, as under a KVM that cannot run
    /// its guest. It says so by an event and stays.
    fn ailing_qemu(stream: UnixStream) {
        let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
        let say = |text: Value| writeln!(&stream, "{text}").expect("a listener");
        while let Some(Ok(line)) = lines.next() {
            let request: Value = serde_json::from_str(&line).expect("a request");
            let id = &request["id"];
            if request["execute"] == "query-status" {
                let status = json!({"status": "internal-error", "running": false});
                say(json!({"return": status, "id": id}));
                return;
            }
            say(json!({"return": {}, "id": id}));
            say(json!({"event": "STOP", "data": {}}));
        }
    }

    #[test]
    fn an_internal_error_is_seen_when_it_happens() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let qemu = thread::spawn(move || ailing_qemu(theirs));
        let (sender, events) = channel();
        let _qmp = Qmp::start(ours, move |event| drop(sender.send(event))).expect("negotiated");
        let event = events.recv_timeout(SOON).expect("an event");
        let (ended, reason) = outcome(of(event, false));
        assert_eq!(ended, Outcome::InfrastructureFailed);
        assert!(reason.contains("internal error"), "{reason}");
        qemu.join().expect("no panic");
    }
}
