//! Clusters of hosts, on two virtual machines that pose as such.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rapidswap_progress::Reporter;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::posed::Posed;
use rapidswap_tests::rapidswap::{root, run};
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::{Scene, guarded, kernel_variant, options, scaled};
use rapidswap_tests::wait::wait_until;
use rapidswap_vm::{Cluster, Fault, NodeState, Outcome, Percent, UpOptions, swap};

const NAME: &str = "test-hosts";
const MIB: u64 = 48;
const LIMIT_MIB: u64 = 24;

fn up(posed: &Posed, name: &str, swap: bool) -> Result<Cluster> {
    let wanted = UpOptions {
        profile: posed.profile(),
        server_mib: 128,
        disk_mib: 128,
        swap,
        ..options(name)?
    };
    Ok(Cluster::up(&wanted, &Reporter::auto())?)
}

/// Pages leave one host for the other and come back as they were.
fn pages_travel(scene: &Scene) -> Result<()> {
    let limit = Limit::new(&scene.client, LIMIT_MIB)?;
    let mib = MIB.to_string();
    let output = limit.run(&[PAGE_PATTERN, "verify", "--mib", &mib])?;
    all_right(&output, MIB, 1)?;
    let moved = swap::counters(&scene.client.node)?;
    let least = (MIB - LIMIT_MIB) * 256;
    ensure!(
        moved.pages_stored >= least && moved.pages_loaded >= least,
        "{moved:?}"
    );
    ensure!(moved.disk_writes == 0, "pages went to disk: {moved:?}");
    Ok(())
}

/// What takes a virtual machine is refused, and changes nothing.
fn what_hosts_cannot_do(scene: &Scene) -> Result<()> {
    let cluster = &scene.cluster;
    let loss: Percent = "1%".parse()?;
    for fault in [
        Fault::Link {
            node: "client".into(),
            up: false,
        },
        Fault::Loss(loss),
        Fault::Partition("client".into(), "server".into()),
        Fault::Pause("client".into()),
        Fault::Reset("client".into()),
    ] {
        let error = cluster.fault(&fault).err().context("it was done")?;
        let text = error.to_string();
        ensure!(
            text.starts_with("node `client` is a host"),
            "{fault:?}: {text}"
        );
        ensure!(error.outcome() == Outcome::TestFailed, "{fault:?}: {text}");
    }
    cluster.fault(&Fault::Clear)?;
    let dump = scene
        .client
        .node
        .qmp("query-status", serde_json::Value::Null);
    ensure!(dump.is_err(), "a host has no QEMU");
    Ok(())
}

/// A host is in one cluster at a time.
fn taken(posed: &Posed) -> Result<()> {
    let error = up(posed, "test-hosts-too", false)
        .err()
        .context("two clusters on one host")?;
    ensure!(
        error.to_string().contains("another cluster uses it"),
        "{error:#}"
    );
    Ok(())
}

/// A host whose connection breaks is gone, and says so.
fn a_broken_connection(cluster: &Cluster) -> Result<()> {
    let pid = cluster.node("server")?.status()?.pid;
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL)?;
    let gone = wait_until(
        "the end of the server",
        scaled(Duration::from_secs(10))?,
        || match cluster.node("server")?.status()?.state {
            NodeState::Gone(gone) => Ok(Some(gone)),
            _ => Ok(None),
        },
    )?;
    ensure!(gone.outcome == Outcome::InfrastructureFailed, "{gone:?}");
    ensure!(gone.reason.starts_with("its ssh ended"), "{gone:?}");
    Ok(())
}

#[test]
fn two_hosts_swap_and_are_left_as_they_were() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let posed = Posed::start(kernel_variant()?, dir.path())?;
    let before = posed.state()?;
    let cluster = up(&posed, NAME, true)?;
    guarded(cluster.clone(), |scene| {
        pages_travel(scene)?;
        what_hosts_cannot_do(scene)?;
        taken(&posed)
    })?;
    ensure!(posed.state()? != before, "a cluster that is up shows");
    cluster.down()?;
    // At once: `down` waits for it.
    ensure!(
        posed.state()? == before,
        "{:#?} was {before:#?}",
        posed.state()?
    );

    let cluster = up(&posed, NAME, true)?;
    a_broken_connection(&cluster)?;
    let supervisor = cluster.status()?.supervisor;
    kill(Pid::from_raw(supervisor as i32), Signal::SIGKILL)?;
    posed.wait_for(&before, scaled(Duration::from_secs(120))?)
}

/// What is run on a host touches nothing where the kernel is another one.
#[test]
fn a_host_with_another_kernel_is_refused() -> Result<()> {
    let script = root().join("vm/src/supervisor/host/host.sh");
    let script = fs::read_to_string(&script)?;
    let other = "00112233445566778899aabbccddeeff00112233";
    let output = Command::new("sh")
        .args([
            "-c",
            &script,
            "rapidswap",
            "0",
            "",
            other,
            "6.12.0-x",
            "lo",
            "none",
        ])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
    ensure!(
        said.lines().count() == 1 && said.contains("./just kernel package"),
        "{said}"
    );
    Ok(())
}

/// A host that does not answer is one line that names it.
#[test]
fn a_host_that_cannot_be_reached_is_named() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let profile = dir.path().join("nobody.toml");
    let text = fs::read_to_string(root().join("profiles/mlx5.toml"))?;
    // A port of this machine on which nobody listens.
    let nobody = "[\"-p\", \"1\", \"root@127.0.0.1\"]";
    let text = text.replace("\"root@client\"", nobody);
    let text = text.replace("\"root@server\"", nobody);
    fs::write(&profile, text.replace("kernel = \"host\"\n", ""))?;
    let profile = profile.to_string_lossy();
    let output = run(&["up", "--name", "test-hosts-none", "--profile", &profile])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(97),
        "{}: {said}",
        output.status
    );
    // Both are tried at once.
    let named = |node| said.contains(&format!("node `{node}` did not boot: its ssh ended"));
    ensure!(named("client") || named("server"), "{said}");
    ensure!(said.contains("Connection refused"), "{said}");
    Ok(())
}
