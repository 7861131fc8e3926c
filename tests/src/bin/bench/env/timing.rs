//! Commands and how long they take.

use std::process::{Command, Output, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

/// Runs a command to its end without input; its output, and the seconds from
/// its start to its exit.
pub fn timed(command: &mut Command) -> Result<(Output, f64)> {
    let start = Instant::now();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {}", line(command)))?;
    Ok((output, start.elapsed().as_secs_f64()))
}

/// The same for one that must succeed.
pub fn timed_ok(command: &mut Command) -> Result<(Output, f64)> {
    let (output, seconds) = timed(command)?;
    ensure!(
        output.status.success(),
        "{}: {}: {}",
        line(command),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok((output, seconds))
}

/// A command as it would be typed.
pub fn line(command: &Command) -> String {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}
