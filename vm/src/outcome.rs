//! How a run ends, and the exit code that says so.

use std::fmt;

use serde::{Deserialize, Serialize};

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
            Error::NoCluster(_)
            | Error::AlreadyUp(_)
            | Error::BadName(_)
            | Error::UnknownNode { .. }
            | Error::NotASize(_)
            | Error::BadOption(_)
            | Error::Host(_)
            | Error::Agent(rapidswap_protocol::Error::Remote { .. }) => Outcome::TestFailed,
            Error::MissingQemu(_)
            | Error::OldQemu(_)
            | Error::KvmUnusable(_)
            | Error::DiskSpace { .. }
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
    }
}
