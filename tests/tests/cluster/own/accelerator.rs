//! Which accelerator a cluster takes, where the host has no KVM of use: a
//! program in the place of QEMU says what KVM does.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use rapidswap_tests::rapidswap;
use rapidswap_vm::Cluster;

/// Brings a cluster up with a shell script in QEMU's place, and gives what
/// `status` says of it.
fn up_with(script: &str, accel: &str) -> Result<serde_json::Value> {
    let name = "test-accel";
    let dir = tempfile::tempdir()?;
    let shim = dir.path().join("qemu");
    fs::write(&shim, format!("#!/bin/sh\n{script}\n"))?;
    fs::set_permissions(&shim, PermissionsExt::from_mode(0o755))?;
    let up = [
        "up",
        "--name",
        name,
        "--no-swap",
        "--cold",
        "--memory",
        "256M",
        "--accel",
        accel,
    ];
    let output = rapidswap::command(&up)
        .env("RAPIDSWAP_QEMU", &shim)
        .output();
    let output = output.context("run up")?;
    ensure!(output.status.success(), "{output:?}");
    let status = rapidswap::run(&["--name", name, "status", "--json"]);
    rapidswap::run(&["--name", name, "down"])?;
    Ok(serde_json::from_slice(&status?.stdout)?)
}

/// A KVM that is QEMU's translator in truth.
const WORKS: &str = r#"last=
for word; do
    shift
    case $last:$word in
    -accel:kvm) word=tcg ;;
    -cpu:host) word=max ;;
    esac
    last=$word
    set -- "$@" "$word"
done
exec qemu-system-x86_64 "$@""#;

/// A KVM with which nothing ever happens.
const HANGS: &str = r#"case " $* " in
*" -accel kvm "*) exec sleep 1000 ;;
esac
exec qemu-system-x86_64 "$@""#;

#[test]
fn kvm_that_boots_a_guest_is_taken() -> Result<()> {
    let status = up_with(WORKS, "kvm")?;
    ensure!(status["accel"] == "kvm", "{status}");
    let reason = status["accel_reason"].as_str().unwrap_or_default();
    ensure!(reason.starts_with("a guest booted in "), "{reason}");
    Ok(())
}

#[test]
fn kvm_that_hangs_is_not_taken() -> Result<()> {
    let status = up_with(HANGS, "auto")?;
    ensure!(status["accel"] == "tcg", "{status}");
    let reason = status["accel_reason"].as_str().unwrap_or_default();
    ensure!(
        reason.contains("no guest had booted with it after 2.5 s"),
        "{reason}"
    );
    Ok(())
}

/// Where KVM works, it is used; where it is missing or broken, the demand for
/// it fails within the probe's own deadline.
#[test]
fn kvm_that_does_not_work() -> Result<()> {
    let name = "test-demand";
    let output = rapidswap::run(&["up", "--name", name, "--accel", "kvm", "--no-swap"])?;
    if let Ok(cluster) = Cluster::attach(name) {
        ensure!(output.status.success() && cluster.status()?.accel.name() == "kvm");
        return Ok(cluster.down()?);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "{stderr}");
    let reason = stderr.lines().filter(|line| line.contains("--accel kvm"));
    ensure!(reason.count() == 1, "{stderr}");
    Ok(())
}
