//! `rapidswap bisect-run`: one step of `git bisect run`.

use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use rapidswap_progress::Reporter;
use rapidswap_vm::{Cluster, Error, ExitStatus, Outcome, UpOptions};

use crate::exec;
use crate::foreground::{Ended, Foreground};

/// What a step says about the commit.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has not what is looked for.
    Good,
    /// It has, for this reason.
    Bad(String),
    /// It cannot be tested.
    Skip(String),
    /// No commit can be tested like this.
    Stop(String),
}

/// What `git bisect run` takes for the end of it all.
pub const STOP: u8 = 128;

impl Verdict {
    /// The exit status that `git bisect run` understands.
    pub fn code(&self) -> u8 {
        match self {
            Verdict::Good => 0,
            Verdict::Bad(_) => 1,
            Verdict::Skip(_) => 125,
            Verdict::Stop(_) => STOP,
        }
    }

    /// What is to be thought of a step that ended with an error. All that
    /// happens in a node is the kernel's doing; what happens outside is not.
    fn of_error(error: &Error) -> Verdict {
        let reason = error.to_string();
        match (error, error.outcome()) {
            (Error::Step { .. }, _) => Verdict::Bad(reason),
            (
                _,
                Outcome::BootFailed | Outcome::GuestPanic | Outcome::GuestSplat | Outcome::Hang,
            ) => Verdict::Bad(reason),
            (_, Outcome::TestFailed | Outcome::Passed) => Verdict::Stop(reason),
            (_, Outcome::InfrastructureFailed | Outcome::Skipped) => Verdict::Skip(reason),
        }
    }

    /// What is to be thought of a command's end.
    fn of_end(ended: Ended) -> Verdict {
        match ended {
            Ended::Status(ExitStatus::Code(0)) => Verdict::Good,
            Ended::Status(ExitStatus::Code(125)) => Verdict::Skip("the command says so".into()),
            Ended::Status(status) => Verdict::Bad(format!("the command ended with {status}")),
            Ended::TimedOut => Verdict::Bad("the command took too long".into()),
            Ended::Unread => Verdict::Stop("nobody reads what the command says".into()),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Good => f.write_str("good"),
            Verdict::Bad(reason) => write!(f, "bad: {reason}"),
            Verdict::Skip(reason) => write!(f, "to be skipped: {reason}"),
            Verdict::Stop(reason) => write!(f, "not to be known: {reason}"),
        }
    }
}

/// Brings a cluster up, runs a command on its client, and takes it down again
/// unless it is to be kept.
pub fn run(
    options: &UpOptions,
    command: Vec<OsString>,
    limit: Option<Duration>,
    reporter: &Reporter,
) -> u8 {
    // What a step before this one left, that was killed.
    if let Ok(left) = Cluster::attach(&options.name) {
        let _ = left.down();
    }
    let verdict = match Cluster::up(options, reporter) {
        Ok(cluster) => {
            let verdict = judge(&cluster, command, limit, reporter);
            if options.keep && verdict != Verdict::Good {
                reporter.note(&cluster.kept());
            } else if let Err(error) = cluster.down() {
                reporter.note(&error.to_string());
            }
            verdict
        }
        Err(error) => Verdict::of_error(&error),
    };
    reporter.note(&format!("this commit is {verdict}"));
    verdict.code()
}

fn judge(
    cluster: &Cluster,
    command: Vec<OsString>,
    limit: Option<Duration>,
    reporter: &Reporter,
) -> Verdict {
    let ended = cluster
        .node("client")
        .and_then(|node| Foreground::run(&node, exec(command, None), limit));
    match cluster.judge(ended, reporter) {
        Ok(ended) => Verdict::of_end(ended),
        Err(error) => Verdict::of_error(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_does_is_bad_and_what_this_does_is_skipped() {
        let gone = |outcome| Error::NodeGone {
            node: "client".into(),
            outcome,
            reason: "why".into(),
            tail: String::new(),
        };
        let step = Error::Step {
            what: "proving the link".into(),
            node: "client".into(),
            detail: "no".into(),
        };
        for (error, code) in [
            (gone(Outcome::GuestPanic), 1),
            (gone(Outcome::BootFailed), 1),
            (step, 1),
            (gone(Outcome::InfrastructureFailed), 125),
            (Error::Prepare("kernel build failed".into()), 125),
            (Error::KvmUnusable("no".into()), 125),
            (Error::SupervisorGone, 125),
            (Error::BadOption("--cpus 0".into()), 128),
        ] {
            assert_eq!(Verdict::of_error(&error).code(), code, "{error}");
        }
    }

    #[test]
    fn the_commands_own_end_decides() {
        let code = |status| Verdict::of_end(Ended::Status(status)).code();
        assert_eq!(code(ExitStatus::Code(0)), 0);
        assert_eq!(code(ExitStatus::Code(125)), 125);
        // More than 127 would end the bisection.
        for status in [
            ExitStatus::Code(7),
            ExitStatus::Code(255),
            ExitStatus::Signal(11),
        ] {
            assert_eq!(code(status), 1);
        }
        assert_eq!(Verdict::of_end(Ended::TimedOut).code(), 1);
    }
}
