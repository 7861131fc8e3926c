//! Nothing outlives a cluster, however it ends.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use rapidswap_progress::Reporter;
use rapidswap_tests::processes::{Process, survivors, tree};
use rapidswap_tests::rapidswap;
use rapidswap_tests::scene::options;
use rapidswap_tests::wait::wait_until;
use rapidswap_vm::Cluster;
use std::os::unix::process::CommandExt;

/// From the end of a supervisor until the last of its processes is gone.
const GONE: Duration = Duration::from_secs(10);

/// Longest wait for a QEMU to run: kernel and image are built by then.
const STARTED: Duration = Duration::from_secs(60);

fn wait_for_none(processes: &[Process], run_dir: &Path) -> Result<()> {
    let gone = wait_until("the last process to end", GONE, || {
        Ok(survivors(processes).is_empty().then_some(()))
    });
    if let Err(error) = gone {
        bail!("{error}: {:?} are left", survivors(processes));
    }
    wait_until("the last socket to go", GONE, || {
        Ok(sockets(run_dir)?.is_empty().then_some(()))
    })
}

fn sockets(dir: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Ok(found);
    };
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_socket() {
            found.push(entry.path());
        } else if kind.is_dir() {
            found.extend(sockets(&entry.path())?);
        }
    }
    Ok(found)
}

#[test]
fn a_killed_supervisor_takes_all_with_it() -> Result<()> {
    let name = "test-kill";
    let cluster = Cluster::up(&options(name)?, &Reporter::auto())?;
    let status = cluster.status()?;
    let processes = tree(status.supervisor)?;
    let qemus = processes.iter().filter(|p| p.is_qemu());
    ensure!(qemus.count() == 2, "{processes:?}");
    kill(Pid::from_raw(status.supervisor as i32), Signal::SIGKILL)?;
    wait_for_none(&processes, &status.run_dir)?;
    ensure!(Cluster::attach(name).is_err(), "it is still said to run");
    // The name is free again.
    let again = Cluster::up(&options(name)?, &Reporter::auto())?;
    let processes = tree(again.status()?.supervisor)?;
    // Whoever is second finds it gone, or waits until it is.
    let down = || {
        rapidswap::command(&["down", "--name", name])
            .stderr(Stdio::piped())
            .spawn()
    };
    let both = [down()?, down()?].map(Child::wait_with_output);
    let codes: Vec<_> = both
        .iter()
        .flatten()
        .filter_map(|output| output.status.code())
        .collect();
    ensure!(
        codes.contains(&0) && codes.iter().all(|code| *code < 2),
        "{both:?}"
    );
    wait_for_none(&processes, &status.run_dir)
}

/// An `up` that is interrupted while the nodes boot.
#[test]
fn an_interrupted_up_leaves_nothing() -> Result<()> {
    let name = "test-int";
    let outcome = interrupt_an_up(name);
    let left = Cluster::attach(name);
    if let Ok(cluster) = left {
        cluster.down()?;
        outcome?;
        bail!("it is still said to run");
    }
    outcome
}

fn interrupt_an_up(name: &str) -> Result<()> {
    let mut up = rapidswap::command(&["up", "--name", name, "--no-swap", "--cold"]);
    // A group of its own, as a shell gives each command: Ctrl-C goes to it.
    let mut up = up.process_group(0).stderr(Stdio::null()).spawn()?;
    let processes = wait_for_qemu(&mut up)?;
    killpg(Pid::from_raw(up.id() as i32), Signal::SIGINT)?;
    let status = up.wait()?;
    ensure!(!status.success(), "an interrupted up succeeded");
    wait_for_none(&processes, Path::new("/nonexistent"))
}

/// A demonstration that is interrupted while its program runs.
#[test]
fn an_interrupted_demonstration_leaves_nothing() -> Result<()> {
    let name = "test-demo";
    let mut demo = Command::new(env!("CARGO_BIN_EXE_demo"));
    demo.args(["--name", name, "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut demo = demo.process_group(0).spawn()?;
    let status = wait_until("the demonstration's cluster", STARTED, || {
        if let Some(status) = demo.try_wait()? {
            bail!("it ended before it was interrupted: {status}");
        }
        let status = Cluster::attach(name).and_then(|cluster| cluster.status());
        Ok(status.ok().filter(|status| status.swap))
    })?;
    let processes = tree(status.supervisor)?;
    killpg(Pid::from_raw(demo.id() as i32), Signal::SIGINT)?;
    let output = demo.wait_with_output()?;
    ensure!(output.status.code() == Some(130), "{}", output.status);
    ensure!(output.stdout.is_empty(), "it printed a result: {output:?}");
    wait_for_none(&processes, &status.run_dir)?;
    ensure!(Cluster::attach(name).is_err(), "it is still said to run");
    Ok(())
}

/// All processes of a cluster whose QEMUs have just been started. Until it is
/// up they are descendants of the command.
fn wait_for_qemu(up: &mut Child) -> Result<Vec<Process>> {
    wait_until("a QEMU to run", STARTED, || {
        if let Some(status) = up.try_wait()? {
            bail!("up ended before it was interrupted: {status}");
        }
        let processes = tree(up.id())?;
        let qemu = processes.iter().any(|p| p.is_qemu());
        Ok(qemu.then_some(processes))
    })
}
