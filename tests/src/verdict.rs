//! What a test ended as, and on which node.

use std::fmt;

use anyhow::Error;
use rapidswap_cli::say;
use rapidswap_progress::Reporter;
use rapidswap_vm::{Collected, Gone, Outcome, Splat, SplatKind, ended, interrupt};

use crate::wait::TimedOut;

/// What was seen of a test.
#[derive(Debug, Default)]
pub struct Seen {
    /// The test's own end.
    pub error: Option<Error>,
    /// Faults during it that no list allows.
    pub faults: Vec<Splat>,
    /// Nodes that are gone.
    pub gone: Vec<(String, Gone)>,
    /// Consoles that could not be looked at, nodes that did not answer.
    pub unseen: Vec<(String, Error)>,
}

impl Seen {
    /// An error and nothing else.
    pub fn error(error: Error) -> Seen {
        Seen {
            error: Some(error),
            ..Seen::default()
        }
    }
}

/// How a test ended.
#[derive(Debug)]
pub struct Verdict {
    /// The test.
    pub test: String,
    /// What it ended as.
    pub outcome: Outcome,
    /// The node it failed on, if it was one.
    pub node: Option<String>,
    /// What was seen.
    pub seen: Seen,
    /// What was kept, if it was already.
    pub collected: Option<Collected>,
}

impl Verdict {
    /// Judges what was seen: what a kernel says comes before what the test
    /// says, because the one is the cause of the other.
    pub fn of(test: &str, seen: Seen) -> Verdict {
        let (outcome, node) = judge(&seen);
        Verdict {
            test: test.to_owned(),
            outcome,
            node,
            seen,
            collected: None,
        }
    }

    /// Whether the run may go on as if nothing had happened.
    pub fn is_good(&self) -> bool {
        self.outcome == Outcome::Passed
    }
}

fn judge(seen: &Seen) -> (Outcome, Option<String>) {
    let panic = seen.faults.iter().find(|f| f.kind == SplatKind::Panic);
    if let Some(panic) = panic {
        return (Outcome::GuestPanic, Some(panic.node.clone()));
    }
    if let Some((node, gone)) = seen.gone.first() {
        return (gone.outcome, Some(node.clone()));
    }
    if let Some(fault) = seen.faults.first() {
        return (Outcome::GuestSplat, Some(fault.node.clone()));
    }
    if let Some((node, error)) = seen.unseen.first() {
        return (outcome(error), Some(node.clone()));
    }
    match &seen.error {
        None => (Outcome::Passed, None),
        Some(error) => (outcome(error), node(error)),
    }
}

/// What a run that ends with this error ended as.
pub fn outcome(error: &Error) -> Outcome {
    if error.is::<TimedOut>() {
        Outcome::Hang
    } else if let Some(error) = error.downcast_ref::<rapidswap_vm::Error>() {
        error.outcome()
    } else {
        Outcome::TestFailed
    }
}

/// Says why a program failed; gives its exit status.
pub fn failed(program: &str, error: &anyhow::Error, reporter: &Reporter) -> u8 {
    interrupt::heed();
    let code = exit_code(error);
    ended(reporter, code, Some(error));
    if !reporter.is_json() {
        say(format_args!("{program}: {error:#}"));
    }
    code
}

/// The exit code of a program that ends with this error.
pub fn exit_code(error: &Error) -> u8 {
    match error.downcast_ref::<rapidswap_vm::Error>() {
        Some(error) => error.exit_code(),
        None => outcome(error).code(),
    }
}

fn node(error: &Error) -> Option<String> {
    let error: &rapidswap_vm::Error = error.downcast_ref()?;
    error.node().map(str::to_owned)
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.outcome, self.outcome.code())?;
        if let Some(node) = &self.node {
            write!(f, " on {node}")?;
        }
        let mut said = Splat::named(&self.seen.faults);
        let gone = self.seen.gone.iter();
        said.extend(gone.map(|(node, gone)| format!("{node} is gone: {}", gone.reason)));
        let unseen = self.seen.unseen.iter();
        said.extend(unseen.map(|(node, error)| format!("{node}: {error:#}")));
        said.extend(self.seen.error.iter().map(|error| format!("{error:#}")));
        if !said.is_empty() {
            write!(f, ": {}", said.join("; "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};
    use rapidswap_vm::Occasion;
    use std::time::Duration;

    fn fault(node: &str, kind: SplatKind) -> Splat {
        Splat {
            node: node.to_owned(),
            line: 7,
            kind,
            text: "WARNING: x".to_owned(),
            occasion: Occasion::BeforeTests,
        }
    }

    fn ended() -> Gone {
        Gone {
            outcome: Outcome::InfrastructureFailed,
            reason: "its QEMU ended".to_owned(),
        }
    }

    fn of(seen: Seen) -> (Outcome, Option<String>) {
        let verdict = Verdict::of("a test", seen);
        (verdict.outcome, verdict.node)
    }

    #[test]
    fn a_splat_fails_a_test_that_passed() {
        let faults = vec![fault("server", SplatKind::Warning); 5];
        let verdict = Verdict::of(
            "a test",
            Seen {
                faults,
                ..Seen::default()
            },
        );
        assert_eq!(verdict.outcome, Outcome::GuestSplat);
        let text = verdict.to_string();
        assert!(
            text.starts_with("guest splat (99) on server: warning on server"),
            "{text}"
        );
        assert!(
            text.ends_with("2 more faults") && !text.contains('\n'),
            "{text}"
        );
    }

    #[test]
    fn a_panic_comes_before_its_consequences() {
        let seen = Seen {
            error: Some(anyhow!("the program ended")),
            faults: vec![
                fault("client", SplatKind::Warning),
                fault("server", SplatKind::Panic),
            ],
            gone: vec![("client".to_owned(), ended())],
            unseen: vec![("client".to_owned(), anyhow!("no mark"))],
        };
        assert_eq!(of(seen), (Outcome::GuestPanic, Some("server".to_owned())));
    }

    #[test]
    fn a_scan_that_could_not_be_made_is_no_pass() {
        let seen = Seen {
            unseen: vec![("client".to_owned(), anyhow!("no console"))],
            ..Seen::default()
        };
        assert_ne!(of(seen).0, Outcome::Passed);
    }

    #[test]
    fn the_tests_own_error_says_the_rest() {
        let by = |error: Error| of(Seen::error(error));
        assert_eq!(of(Seen::default()), (Outcome::Passed, None));
        assert_eq!(by(anyhow!("wrong")).0, Outcome::TestFailed);
        let late = TimedOut {
            what: "rain".to_owned(),
            limit: Duration::ZERO,
        };
        let late = Error::from(late).context("a step").context("another");
        assert_eq!(by(late).0, Outcome::Hang);
        let skipped = rapidswap_vm::Error::Skipped("why".to_owned());
        assert_eq!(by(skipped.into()).0, Outcome::Skipped);
        let gone: Result<(), _> = Err(rapidswap_vm::Error::NodeGone {
            node: "client".to_owned(),
            outcome: Outcome::InfrastructureFailed,
            reason: "its QEMU ended".to_owned(),
            tail: String::new(),
        });
        let gone = gone.context("run `true`").expect_err("gone");
        let expected = (Outcome::InfrastructureFailed, Some("client".to_owned()));
        assert_eq!(by(gone), expected);
    }
}
