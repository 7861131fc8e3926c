//! What users get wrong: one clear line, a non-zero exit, nothing left running.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, ensure};
use rapidswap_tests::rapidswap::{command, refusal, run};
use rapidswap_tests::scene::on_cluster;
use rapidswap_vm::Cluster;

const NOBODY: &str = "test-nobody";

#[test]
fn no_cluster_is_running() -> Result<()> {
    let cases: [&[&str]; 5] = [
        &["exec", "--name", NOBODY, "client", "--", "true"],
        &["shell", "--name", NOBODY, "client"],
        &["run", "--name", NOBODY, "--limit", "64M", "--", "true"],
        &["status", "--name", NOBODY],
        &["down", "--name", NOBODY],
    ];
    for case in cases {
        let line = refusal(&run(case)?)?;
        ensure!(
            line.contains(NOBODY) && line.contains("./just up"),
            "{case:?}: {line}"
        );
    }
    Ok(())
}

#[test]
fn an_unknown_node() -> Result<()> {
    on_cluster(|scene| {
        let name = scene.cluster.name();
        let line = refusal(&run(&["exec", "--name", name, "middle", "--", "true"])?)?;
        for word in ["middle", "client", "server"] {
            ensure!(line.contains(word), "{line}");
        }
        Ok(())
    })
}

#[test]
fn a_second_up() -> Result<()> {
    on_cluster(|scene| {
        let name = scene.cluster.name();
        let line = refusal(&run(&["up", "--name", name])?)?;
        ensure!(
            line.contains("already up") && line.contains("./just down"),
            "{line}"
        );
        // The one that runs did not notice.
        scene.client.ok(&["true"]).map(drop)
    })
}

#[test]
fn options_out_of_range() -> Result<()> {
    let up = ["up", "--name", NOBODY];
    let cases: [(&[&str], &str); 8] = [
        (&["--memory", "many"], "many"),
        (&["--memory", "1M"], "1M"),
        (&["--server-mem", "-1"], "-1"),
        (&["--disk", "0"], "--disk"),
        (&["--cpus", "0"], "--cpus"),
        (&["--name", "../elsewhere"], "../elsewhere"),
        (&["--profile", "carrier-pigeon"], "carrier-pigeon"),
        (&["--accel", "magic"], "magic"),
    ];
    for (options, named) in cases {
        let line = match options[0] {
            "--name" => refusal(&run(&[&["up"], options].concat())?)?,
            _ => refusal(&run(&[&up[..], options].concat())?)?,
        };
        ensure!(line.contains(named), "{options:?}: {line}");
    }
    let limited = ["run", "--name", NOBODY, "--limit", "lots", "--", "true"];
    let line = refusal(&run(&limited)?)?;
    ensure!(line.contains("`lots` is not a size"), "{line}");
    ensure!(Cluster::attach(NOBODY).is_err());
    Ok(())
}

#[test]
fn not_enough_disk() -> Result<()> {
    let line = refusal(&run(&["up", "--name", NOBODY, "--disk", "1024T"])?)?;
    ensure!(line.contains("not enough disk space"), "{line}");
    ensure!(Cluster::attach(NOBODY).is_err());
    Ok(())
}

#[test]
fn no_qemu() -> Result<()> {
    let empty = tempfile::tempdir()?;
    let output = command(&["up", "--name", NOBODY])
        .env("PATH", empty.path())
        .output()?;
    let line = refusal(&output)?;
    ensure!(
        line.contains("qemu-system-x86") && line.contains("apt install"),
        "{line}"
    );
    ensure!(Cluster::attach(NOBODY).is_err());
    Ok(())
}

/// A KVM that ends at once is no reason to wait, and a demand for it fails.
#[test]
fn kvm_that_does_not_work() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let qemu = dir.path().join("qemu");
    fs::write(&qemu, "#!/bin/sh\necho 'no such luck' >&2\n")?;
    fs::set_permissions(&qemu, PermissionsExt::from_mode(0o755))?;
    let output = command(&["up", "--name", NOBODY, "--accel", "kvm", "--no-swap"])
        .env("RAPIDSWAP_QEMU", &qemu)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(96), "{output:?}");
    let reason = said
        .lines()
        .filter(|line| line.contains("--accel kvm: ") && line.contains("no such luck"));
    ensure!(reason.count() == 1, "{said}");
    ensure!(Cluster::attach(NOBODY).is_err());
    Ok(())
}
