//! A cluster of the benchmark's own, from its start to its end by a panic.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rapidswap_tests::rapidswap;

use super::timing::{timed, timed_ok};

/// Commands in a round.
const EXECS: usize = 30;

/// The status that the measured command exits with.
const STATUS: i32 = 7;

/// The status of a command whose node's kernel gave up.
const PANIC: i32 = 98;

/// What one cluster took, in seconds.
pub struct Measured {
    /// Two VMs, link proved.
    pub up_cold_s: f64,
    /// The same from a saved state.
    pub up_restored_s: f64,
    /// A program that says something and exits with a status.
    pub exec_s: Vec<f64>,
    /// From the moment that a kernel is told to panic until a command that
    /// waits on that node has ended with the verdict.
    pub panic_verdict_s: f64,
}

/// Brings a cluster up and takes it down, so that its state is saved.
pub fn save(name: &str) -> Result<()> {
    up(name, &[])?;
    down(name)
}

/// Brings a cluster up, measures on it, and takes it down; then once more from
/// the saved state.
pub fn measure(name: &str) -> Result<Measured> {
    let up_cold_s = up(name, &["--cold"])?;
    let measured = on(name);
    let ended = down(name);
    let (exec_s, panic_verdict_s) = measured?;
    ended?;
    let up_restored_s = up(name, &[])?;
    let status = timed_ok(&mut rapidswap::command(&[
        "--name", name, "status", "--json",
    ]));
    down(name)?;
    let status: serde_json::Value = serde_json::from_slice(&status?.0.stdout)?;
    ensure!(
        status["start"]["restored"] == true,
        "the cluster was not restored: {}",
        status["start"]["reason"]
    );
    Ok(Measured {
        up_cold_s,
        up_restored_s,
        exec_s,
        panic_verdict_s,
    })
}

fn up(name: &str, more: &[&str]) -> Result<f64> {
    Ok(timed_ok(bringing_up(name).args(more))?.1)
}

/// What brings two VMs up whose link is proved.
pub fn bringing_up(name: &str) -> Command {
    rapidswap::command(&["--name", name, "up", "--no-swap", "--accel", "tcg"])
}

/// Takes them down.
pub fn down(name: &str) -> Result<()> {
    timed_ok(&mut rapidswap::command(&["--name", name, "down"])).map(drop)
}

fn on(name: &str) -> Result<(Vec<f64>, f64)> {
    let mut exec_s = Vec::new();
    for index in 0..EXECS {
        let nonce = format!("nonce {index} {}", std::process::id());
        let script = format!("echo '{nonce}'; exit {STATUS}");
        let exec = ["--name", name, "exec", "client", "--", "sh", "-c", &script];
        let (output, seconds) = timed(&mut rapidswap::command(&exec))?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.code() == Some(STATUS) && said.trim_end() == nonce,
            "exec ended with {} and said {said:?}",
            output.status
        );
        exec_s.push(seconds);
    }
    Ok((exec_s, panic_verdict(name)?))
}

fn panic_verdict(name: &str) -> Result<f64> {
    let script = "echo ready; read -r go; echo c > /proc/sysrq-trigger";
    let exec = ["--name", name, "exec", "client", "--", "sh", "-c", script];
    let mut child = Command::new(rapidswap::program())
        .args(exec)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("run exec")?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("piped")?).read_line(&mut line)?;
    ensure!(line == "ready\n", "exec said {line:?} before the panic");
    let start = Instant::now();
    child.stdin.take().context("piped")?.write_all(b"go\n")?;
    let status = child.wait()?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(
        status.code() == Some(PANIC),
        "after a panic exec ended with {status}"
    );
    Ok(seconds)
}
