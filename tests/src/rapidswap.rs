//! The `rapidswap` program of this checkout, run as a user runs it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

/// The root of the checkout.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// Where all that is made goes.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => root().join("target"),
    }
}

/// Where `./just build` leaves the programs of the host.
pub fn release() -> PathBuf {
    target().join("release")
}

/// Path of the program.
pub fn program() -> PathBuf {
    release().join("rapidswap")
}

/// Path of an example program of the server, of those that test it.
pub fn example(name: &str) -> PathBuf {
    release().join("examples").join(name)
}

/// The program with these arguments and nothing on its standard input. Whatever
/// the tests' nodes are, what it brings up has those of its arguments: hosts are
/// in one cluster at a time.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).stdin(Stdio::null());
    command.env_remove("RAPIDSWAP_PROFILE");
    command
}

/// Runs it to its end.
pub fn run(arguments: &[&str]) -> Result<Output> {
    let output = command(arguments).output();
    output.with_context(|| format!("run {} {}", program().display(), arguments.join(" ")))
}

/// Checks that it refused: a non-zero exit, nothing on stdout, and one line on
/// stderr, which is returned.
pub fn refusal(output: &Output) -> Result<String> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "it was accepted: {stderr}");
    ensure!(output.stdout.is_empty(), "something on stdout: {output:?}");
    // clap adds how to get help to what it refuses.
    let said = stderr.lines().filter(|line| !line.trim().is_empty());
    let said: Vec<&str> = said
        .filter(|line| !line.starts_with("For more information"))
        .collect();
    ensure!(said.len() == 1, "not one line: {stderr}");
    Ok(said[0].to_owned())
}
