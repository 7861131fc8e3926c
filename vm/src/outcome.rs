//! How a run ends, and the exit code that says so.

use std::fmt;

use rapidswap_progress::{Event, Reporter};
use serde::{Deserialize, Serialize};

use crate::console::splat::SplatKind;
use crate::error::Error;

/// The exit code of `--accel kvm` where no guest boots under KVM: a failure of
/// the infrastructure that a caller may want to tell from the others.
pub const NO_KVM: u8 = 96;

/// How a run ended. Scripts rely on the codes: they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All was as it should be.
    Passed,
    /// What was asked for was not so, or could not be done as asked.
    TestFailed,
    /// It was not tried, and a reason was given.
    Skipped,
    /// What carries the nodes failed: QEMU, the supervisor, a build.
    InfrastructureFailed,
    /// Something did not end in its time, and no kernel said why.
    Hang,
    /// A node did not come up.
    BootFailed,
    /// A node's kernel gave up.
    GuestPanic,
    /// A node's kernel complained, whatever else was well.
    GuestSplat,
}

impl Outcome {
    /// All of them, in the order of their codes.
    pub const ALL: [Outcome; 8] = [
        Outcome::Passed,
        Outcome::TestFailed,
        Outcome::Skipped,
        Outcome::InfrastructureFailed,
        Outcome::Hang,
        Outcome::BootFailed,
        Outcome::GuestPanic,
        Outcome::GuestSplat,
    ];

    /// Its exit code.
    pub fn code(self) -> u8 {
        match self {
            Outcome::Passed => 0,
            Outcome::TestFailed => 1,
            // What automake and meson take for skipped.
            Outcome::Skipped => 77,
            Outcome::InfrastructureFailed => 94,
            Outcome::Hang => 95,
            Outcome::BootFailed => 97,
            Outcome::GuestPanic => 98,
            Outcome::GuestSplat => 99,
        }
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::TestFailed => "test failed",
            Outcome::Skipped => "skipped",
            Outcome::InfrastructureFailed => "infrastructure failed",
            Outcome::Hang => "hang",
            Outcome::BootFailed => "boot failed",
            Outcome::GuestPanic => "guest panic",
            Outcome::GuestSplat => "guest splat",
        }
    }
}

/// The name by which programs know a value of an enumeration.
pub(crate) fn word(value: impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// Says by an event that all is over: with which exit status, and why.
pub fn ended(reporter: &Reporter, code: u8, error: Option<&anyhow::Error>) {
    let outcome = match code {
        NO_KVM => Some(Outcome::InfrastructureFailed),
        code => Outcome::ALL
            .into_iter()
            .find(|outcome| outcome.code() == code),
    };
    let cause = error.and_then(|error| error.downcast_ref::<Error>());
    reporter.say(Event::Ended {
        code,
        outcome: outcome.map(word),
        node: cause.and_then(Error::node).map(str::to_owned),
        error: error.map(|error| format!("{error:#}")),
    });
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Error {
    /// What a run that ends with this error ended as.
    pub fn outcome(&self) -> Outcome {
        match self {
            Error::Boot { .. } => Outcome::BootFailed,
            Error::NodeGone { outcome, .. } => *outcome,
            Error::Hangs { .. } => Outcome::Hang,
            Error::KernelFaults { faults, .. } => {
                let panics = faults.iter().any(|fault| fault.kind == SplatKind::Panic);
                match panics {
                    true => Outcome::GuestPanic,
                    false => Outcome::GuestSplat,
                }
            }
            Error::Skipped(_) => Outcome::Skipped,
            Error::NoCluster(_)
            | Error::AlreadyUp(_)
            | Error::BadName(_)
            | Error::UnknownNode { .. }
            | Error::NotASize(_)
            | Error::BadOption(_)
            | Error::Cache(rapidswap_cache::Error::NoRoot)
            | Error::Host(_)
            | Error::Agent(rapidswap_protocol::Error::Remote { .. }) => Outcome::TestFailed,
            Error::MissingQemu(_)
            | Error::OldQemu(_)
            | Error::KvmUnusable(_)
            | Error::Cache(_)
            | Error::MissingProgram(_)
            | Error::Prepare(_)
            | Error::Step { .. }
            | Error::Supervisor(_)
            | Error::SupervisorGone
            | Error::Agent(_)
            | Error::Io { .. } => Outcome::InfrastructureFailed,
        }
    }

    /// The exit code of a command that ends with this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::KvmUnusable(_) => NO_KVM,
            other => other.outcome().code(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::occasion::Occasion;
    use crate::console::splat::Splat;

    #[test]
    fn every_outcome_has_a_code_of_its_own() {
        let mut codes: Vec<u8> = Outcome::ALL.iter().map(|outcome| outcome.code()).collect();
        codes.push(NO_KVM);
        let listed = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), listed);
        // Those that shells and command lines have taken.
        assert!(codes.iter().all(|code| *code < 126 && *code != 2));
    }

    #[test]
    fn the_page_for_users_has_every_code() {
        let page = include_str!("../../README.md");
        for outcome in Outcome::ALL {
            let row = format!("| {} | {} |", outcome.code(), outcome.name());
            assert!(page.contains(&row), "README.md has no row `{row}`");
        }
    }

    #[test]
    fn what_became_of_a_node_decides() {
        let gone = |outcome| Error::NodeGone {
            node: "client".into(),
            outcome,
            reason: "its kernel panicked".into(),
            tail: String::new(),
        };
        assert_eq!(gone(Outcome::GuestPanic).exit_code(), 98);
        assert_eq!(gone(Outcome::InfrastructureFailed).exit_code(), 94);
        assert_eq!(Error::KvmUnusable("no".into()).exit_code(), NO_KVM);
        assert_eq!(Error::NoCluster("x".into()).exit_code(), 1);
        assert_eq!(Error::SupervisorGone.exit_code(), 94);
        assert_eq!(Error::Skipped("no card".into()).exit_code(), 77);
    }

    fn fault(node: &str, kind: SplatKind) -> Splat {
        Splat {
            node: node.into(),
            line: 7,
            kind,
            text: "x".into(),
            occasion: Occasion::BeforeTests,
        }
    }

    #[test]
    fn a_panic_is_what_matters_of_many_faults() {
        let faults = vec![
            fault("client", SplatKind::Warning),
            fault("server", SplatKind::Panic),
        ];
        let of = |faults: &[Splat]| Error::KernelFaults {
            faults: faults.to_vec(),
            then: "; then: no link".into(),
        };
        let all = of(&faults);
        assert_eq!((all.exit_code(), all.node()), (98, Some("server")));
        let one = of(&faults[..1]);
        assert_eq!((one.exit_code(), one.node()), (99, Some("client")));
        let text = "warning on client before any test, line 7: x; then: no link";
        assert_eq!(one.to_string(), text);
    }

    #[test]
    fn the_last_event_has_the_outcome_and_the_node() {
        let (reporter, events) = Reporter::channel();
        let error = anyhow::Error::from(Error::KernelFaults {
            faults: vec![fault("server2", SplatKind::Oops)],
            then: String::new(),
        });
        ended(&reporter, 99, Some(&error.context("a round")));
        ended(&reporter, NO_KVM, None);
        ended(&reporter, 125, None);
        drop(reporter);
        let ends = events.iter().map(|event| match event {
            Event::Ended { outcome, node, .. } => (outcome, node),
            other => panic!("{other:?}"),
        });
        let of =
            |outcome: &str, node: Option<&str>| (Some(outcome.to_owned()), node.map(str::to_owned));
        let expected = [
            of("guest_splat", Some("server2")),
            of("infrastructure_failed", None),
            (None, None),
        ];
        assert_eq!(ends.collect::<Vec<_>>(), expected);
    }
}
