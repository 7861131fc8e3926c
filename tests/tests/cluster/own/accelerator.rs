//! Which accelerator a cluster takes, where the host has no KVM of use: a
//! program in the place of QEMU says what KVM does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rapidswap_tests::rapidswap;
use rapidswap_tests::scene::vacate;
use rapidswap_vm::Cluster;

const NAME: &str = "test-accel";

/// `up`, with a shell script in QEMU's place that calls itself an old one.
fn up_with(dir: &Path, script: &str, accel: &str) -> Result<Output> {
    let shim = dir.join("qemu");
    if !shim.exists() {
        fs::write(&shim, format!("#!/bin/sh\n{OLD}\n{script}\n"))?;
        fs::set_permissions(&shim, PermissionsExt::from_mode(0o755))?;
    }
    vacate(NAME)?;
    let up = ["up", "--name", NAME, "--no-swap", "--memory", "256M"];
    let output = rapidswap::command(&[&up[..], &["--accel", accel]].concat())
        .env("RAPIDSWAP_QEMU", &shim)
        .output();
    output.context("run up")
}

/// What `status` says of a cluster that came up; it is taken down.
fn status(up: &Output) -> Result<serde_json::Value> {
    ensure!(up.status.success(), "{up:?}");
    let status = rapidswap::run(&["--name", NAME, "status", "--json"]);
    rapidswap::run(&["--name", NAME, "down"])?;
    Ok(serde_json::from_slice(&status?.stdout)?)
}

/// When it is decided that nothing boots with a KVM, in seconds, where the
/// translator does as well.
const DECIDED: f64 = 3.5;

/// One that is too old to restore anything, by what it says.
const OLD: &str = r#"if [ "$*" = --version ]; then
    echo "QEMU emulator version 8.2.1"
    exit
fi"#;

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
fn kvm_that_boots_a_guest_is_taken_unasked() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut status = status(&up_with(dir.path(), WORKS, "auto")?)?;
    let mut reason = status["accel_reason"].to_string();
    if reason.contains("no guest had booted with it after") {
        // The translator is not as fast as KVM. Who asks for it waits longer,
        // and it is taken from then on.
        self::status(&up_with(dir.path(), WORKS, "kvm")?)?;
        status = self::status(&up_with(dir.path(), WORKS, "auto")?)?;
        reason = status["accel_reason"].to_string();
    }
    ensure!(status["accel"] == "kvm", "{status}");
    ensure!(reason.contains("a guest booted in "), "{reason}");
    Ok(())
}

#[test]
fn kvm_that_hangs_is_not_taken_and_an_old_qemu_boots() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let status = status(&up_with(dir.path(), HANGS, "auto")?)?;
    ensure!(status["accel"] == "tcg", "{status}");
    let reason = status["accel_reason"].as_str().unwrap_or_default();
    let took: f64 = reason
        .rsplit_once("no guest had booted with it after ")
        .and_then(|(_, time)| time.strip_suffix(" s")?.parse().ok())
        .with_context(|| reason.to_owned())?;
    ensure!((2.5..=DECIDED).contains(&took), "{reason}");
    let start = &status["start"];
    ensure!(start["restored"] == false, "{start}");
    let reason = start["reason"].as_str().unwrap_or_default();
    ensure!(
        reason == "QEMU 8.2.1 restores no saved state, 9.0 and newer do",
        "{reason}"
    );
    Ok(())
}

#[test]
fn kvm_that_hangs_ends_who_wants_nothing_else() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let start = Instant::now();
    let output = up_with(dir.path(), HANGS, "kvm")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(96), "{output:?}");
    let reason = said.lines().filter(|line| {
        line.contains("--accel kvm: ") && line.contains("no guest had booted with it after")
    });
    ensure!(reason.count() == 1, "{said}");
    ensure!(start.elapsed() < Duration::from_secs(30), "{said}");
    ensure!(Cluster::attach(NAME).is_err(), "the cluster is left");
    Ok(())
}
