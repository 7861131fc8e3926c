//! What is printed, and what the exit status says.

use std::fmt::Display;
use std::io::{self, Write};

use rapidswap_cli::print;
use rapidswap_protocol::Error as AgentError;
use rapidswap_vm::clean::Cleaned;
use rapidswap_vm::doctor::Finding;
use rapidswap_vm::{Error, NodeState, Outcome, Report, Size, Splat, human_readable};
use serde::Serialize;

/// The exit status for an error.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Error>() {
        Some(Error::Agent(agent @ AgentError::Remote { .. })) => missing_command(agent),
        Some(error) => error.exit_code(),
        None => Outcome::TestFailed.code(),
    }
}

/// How a cluster is, as an outcome: what became of the first node that is
/// gone, or whether a kernel complained of what is on no list, or a node does not
/// answer.
pub fn outcome(report: &Report, faults: &[Splat]) -> Outcome {
    let gone = report
        .status
        .nodes
        .iter()
        .find_map(|node| match &node.state {
            NodeState::Gone(gone) => Some(gone.outcome),
            _ => None,
        });
    match gone {
        Some(outcome) => outcome,
        None if !faults.is_empty() => Outcome::GuestSplat,
        None if !report.silent.is_empty() => Outcome::Hang,
        None => Outcome::Passed,
    }
}

/// As a shell: 127 for no such command, 126 for one that cannot be executed.
fn missing_command(error: &AgentError) -> u8 {
    use nix::libc::{EACCES, ENOENT, ENOEXEC};
    match error {
        AgentError::Remote { errno, .. } => match *errno {
            ENOENT => 127,
            EACCES | ENOEXEC => 126,
            _ => 1,
        },
        _ => 1,
    }
}

/// Prints a report.
pub fn report(report: &(impl Serialize + Display), json: bool) -> anyhow::Result<()> {
    match json {
        true => print(serde_json::to_string(report)?)?,
        false => print(report)?,
    }
    Ok(())
}

/// Prints what is gone from the cache, or would be, a line each.
pub fn cleaned(cleaned: &Cleaned, limit: Size, dry_run: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let (word, verb) = match dry_run {
        true => ("would remove", "would free"),
        false => ("removed", "freed"),
    };
    for entry in &cleaned.removed {
        writeln!(out, "{word} {entry}")?;
    }
    writeln!(
        out,
        "{verb} {}, {} left",
        human_readable(cleaned.freed()),
        human_readable(cleaned.left)
    )?;
    if cleaned.left > limit.bytes() {
        let fixed = human_readable(cleaned.fixed);
        writeln!(
            out,
            "{fixed} are in use, or sources, build directories and tools, which stay"
        )?;
    }
    Ok(())
}

/// Prints what was found on the host, a line or more each.
pub fn findings(findings: &[Finding], json: bool) -> anyhow::Result<()> {
    match json {
        true => print(serde_json::to_string(findings)?)?,
        false => findings.iter().try_for_each(print)?,
    }
    Ok(())
}
