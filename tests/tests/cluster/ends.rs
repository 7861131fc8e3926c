//! A node that ends or hangs ends what waits for it.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rapidswap_tests::guest::Guest;
use rapidswap_tests::provoke::{Provoked, ends, ruin};
use rapidswap_tests::rapidswap;
use rapidswap_tests::scene::{Scene, scaled};
use rapidswap_tests::watch::watch;
use rapidswap_vm::{NodeState, Outcome};

/// From the end of a QEMU until all that waits for its node knows.
const NOTICED: Duration = Duration::from_secs(1);

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

/// A kernel that says nothing and does nothing.
fn hangs(scene: &Scene, guest: &Guest) -> Result<()> {
    let verdict = watch(scene, "hangs", scaled(Duration::from_secs(5))?, |_| {
        ends(Provoked::new(guest)?.fatal("HARDLOCKUP")?)
    });
    ensure!(verdict.outcome == Outcome::Hang, "{verdict}");
    let collected = verdict.collected.context("nothing was kept")?;
    let node = guest.node.name();
    let lacks = |file: &str| {
        let path = Path::new(node).join(file);
        collected.missing.iter().any(|missing| missing.item == path)
    };
    ensure!(
        lacks("dmesg.txt") && !lacks("qemu-state.txt"),
        "{collected:?}"
    );
    let said = fs::read_to_string(collected.dir.join("missing.txt"))?;
    ensure!(said.contains("the agent did not answer"), "{said}");
    Ok(())
}

#[test]
fn a_node_that_ends_or_hangs_ends_what_waits_for_it() -> Result<()> {
    ruin("test-ends", 1, |scene| {
        is_killed(scene)?;
        hangs(scene, &scene.server)
    })
}
