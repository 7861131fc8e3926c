//! A node that ends or hangs ends what waits for it.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rapidswap_tests::provoke::{Provoked, ends, ruin};
use rapidswap_tests::rapidswap;
use rapidswap_tests::scene::{Scene, kernel_variant, options, scaled};
use rapidswap_tests::wait::wait_until;
use rapidswap_tests::watch::watch;
use rapidswap_vm::wait::within;
use rapidswap_vm::{Cluster, NodeState, Outcome};
use serde_json::{Value, json};

/// When the hang is noticed.
const OVERDUE: Duration = Duration::from_secs(8);

/// From the end of a QEMU until all that waits for its node knows, on a host
/// that has no time for it. What it is elsewhere the benchmark measures.
const NOTICED: Duration = Duration::from_secs(10);

/// A QEMU that is killed while a command waits.
fn is_killed(scene: &Scene) -> Result<()> {
    let name = scene.cluster.name();
    let status = scene.cluster.status()?;
    let client = status.nodes.iter().find(|node| node.name == "client");
    let qemu = Pid::from_raw(client.context("no client")?.pid as i32);
    let words = [
        "exec",
        "--name",
        name,
        "client",
        "--",
        "sh",
        "-c",
        "echo on; exec cat",
    ];
    let mut exec = rapidswap::command(&words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut line = [0; 3];
    exec.stdout
        .as_mut()
        .context("no output")?
        .read_exact(&mut line)?;
    let killed = Instant::now();
    kill(qemu, Signal::SIGKILL)?;
    let output = exec.wait_with_output()?;
    let noticed = killed.elapsed();
    eprintln!("an exec ended {noticed:?} after its QEMU");
    ensure!(noticed < scaled(NOTICED)?, "it took {noticed:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    let code = i32::from(Outcome::InfrastructureFailed.code());
    ensure!(
        output.status.code() == Some(code),
        "{}: {said}",
        output.status
    );
    ensure!(
        said.contains("`client`") && said.contains("SIGKILL"),
        "{said}"
    );
    ensure!(said.lines().count() > 2, "no console lines: {said}");
    let state = &scene.cluster.status()?.nodes[0].state;
    ensure!(matches!(state, NodeState::Gone(_)), "{state}");
    Ok(())
}

/// One node is gone, the other says nothing and does nothing: its processor
/// spins with interrupts off.
fn hangs(scene: &Scene) -> Result<()> {
    let verdict = watch(scene, "hangs", OVERDUE, |scene| {
        let hung = Provoked::new(&scene.server)?;
        is_killed(scene)?;
        ends(hung.fatal("HARDLOCKUP")?)
    });
    ensure!(verdict.outcome == Outcome::Hang, "{verdict}");
    let collected = verdict.collected.context("nothing was kept")?;
    let why = |node: &str, file: &str| {
        let path = Path::new(node).join(file);
        let missing = collected.missing.iter();
        missing
            .filter(|missing| missing.item == path)
            .map(|m| m.reason.as_str())
            .next()
    };
    for (node, reason) in [("client", "the node is gone"), ("server", "did not answer")] {
        let said = why(node, "dmesg.txt").context("a log of a node that does not answer")?;
        ensure!(said.contains(reason), "{node}: {said}");
        ensure!(why(node, "console.log").is_none(), "{collected}");
    }
    ensure!(why("server", "qemu-state.txt").is_none(), "{collected}");
    let file = fs::read_to_string(collected.dir.join("missing.txt"))?;
    ensure!(file.lines().count() == collected.missing.len(), "{file}");
    Ok(())
}

/// How long it may take to be told that a node hangs: `top` asks it twice.
const TOLD: Duration = Duration::from_secs(50);

/// A command that its node does not even start.
fn is_interrupted(scene: &Scene) -> Result<()> {
    let words = [
        "--name",
        scene.cluster.name(),
        "exec",
        "server",
        "--",
        "true",
    ];
    let mut exec = rapidswap::command(&words).spawn()?;
    let pid = exec.id();
    // One thread asks, one waits for signals.
    wait_until("the command to be asked for", NOTICED, || {
        let threads = fs::read_dir(format!("/proc/{pid}/task"))?.count();
        Ok((threads > 2).then_some(()))
    })?;
    kill(Pid::from_raw(pid as i32), Signal::SIGINT)?;
    let ended = within(NOTICED, move || exec.wait());
    let code = ended.context("it waits for its node")??.code();
    ensure!(code == Some(130), "{code:?}");
    Ok(())
}

/// What one does with a node that hangs: look at its cluster, and at its kernel.
fn is_looked_at(scene: &Scene) -> Result<()> {
    let _hung = Provoked::again(&scene.server).load_fatal("halts")?;
    let ask = |words: &[&str]| -> Result<(i32, String, String)> {
        let mut command = rapidswap::command(&["--name", scene.cluster.name()]);
        command.args(words);
        let limit = TOLD * kernel_variant()?.patience();
        let output = within(limit, move || command.output());
        let output = output.with_context(|| format!("{words:?} has not ended"))??;
        let [said, told] = [output.stdout, output.stderr].map(String::from_utf8);
        Ok((output.status.code().context("a code")?, said?, told?))
    };
    let hangs_now = |node: &str| -> Result<Option<()>> {
        let alive = ask(&["exec", "--timeout", "1s", node, "--", "true"])?;
        Ok((alive.0 == 124).then_some(()))
    };
    wait_until("the server to hang", NOTICED, || hangs_now("server"))?;
    is_interrupted(scene)?;
    let hang = i32::from(Outcome::Hang.code());
    let (code, said, _) = ask(&["status"])?;
    ensure!(
        code == hang && said.contains("\nserver does not answer: "),
        "{said}"
    );
    let reported = || -> Result<(Value, Duration)> {
        let asked = Instant::now();
        let (code, said, _) = ask(&["status", "--json"])?;
        let took = asked.elapsed();
        ensure!(code == hang, "{said}");
        Ok((serde_json::from_str(&said)?, took))
    };
    let (status, one) = reported()?;
    ensure!(status["silent"] == json!(["server"]), "{status}");
    ensure!(status["counters"]["pages_stored"] == 0, "{status}");
    let (code, said, _) = ask(&["top", "--once", "--json", "--interval", "100ms"])?;
    let activity: Value = serde_json::from_str(&said)?;
    let nodes = json!({ "client": "up", "server": "silent" });
    ensure!(code == 0 && activity["nodes"] == nodes, "{said}");
    // What it does there is what gdb is for.
    let (code, said, told) = ask(&["gdb", "server", "--", "-batch", "-ex", "bt"])?;
    ensure!(code == 0 && said.contains("#0 "), "{said}{told}");
    ensure!(
        told.contains("gdb does not know the node's modules"),
        "{told}"
    );
    let _both = Provoked::again(&scene.client).load_fatal("halts")?;
    wait_until("the client to hang", NOTICED, || hangs_now("client"))?;
    let (status, both) = reported()?;
    ensure!(status["silent"] == json!(["client", "server"]), "{status}");
    eprintln!("told of one in {one:?}, of two in {both:?}");
    ensure!(both < one * 3 / 2, "one after the other");
    Ok(())
}

#[test]
fn a_node_that_hangs_is_told_of_and_looked_at() -> Result<()> {
    ruin(&options("test-hangs")?, is_looked_at)
}

#[test]
fn a_commit_that_hangs_is_a_bad_one() -> Result<()> {
    const HANG: &str = "insmod /rapidswap/modules/lkdtm.ko; \
        echo HARDLOCKUP >/sys/kernel/debug/provoke-crash/DIRECT";
    let name = "test-hangs";
    let step = [
        "bisect-run",
        "--name",
        name,
        "--memory",
        "256M",
        "--no-link",
    ];
    let command = ["--timeout", "3s", "--", "sh", "-c", HANG];
    let output = rapidswap::run(&[&step[..], &command].concat())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{said}");
    ensure!(
        said.contains("this commit is bad: the command took too long"),
        "{said}"
    );
    ensure!(Cluster::attach(name).is_err(), "the cluster is left");
    Ok(())
}

#[test]
fn a_node_that_ends_or_hangs_ends_what_waits_for_it() -> Result<()> {
    ruin(&options("test-ends")?, hangs)
}
