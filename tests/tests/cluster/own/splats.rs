//! A run fails if a kernel complains, and what can be had of the cluster is
//! kept: shown by a complaint that is planted.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rapidswap_progress::Reporter;
use rapidswap_tests::provoke::Provoked;
use rapidswap_tests::rapidswap::run;
use rapidswap_tests::scene::{guarded, options};
use rapidswap_tests::vmcore;
use rapidswap_vm::{Cluster, UpOptions, failure_dir};

/// What is kept of each node that answers.
const FILES: [&str; 10] = [
    "agent.log",
    "commands.log",
    "console.log",
    "dmesg.txt",
    "qemu-state.txt",
    "qemu.log",
    "qemu.txt",
    "statistics.txt",
    "sysrq-memory.txt",
    "sysrq-tasks.txt",
];

/// Checks that all is there of both nodes, and that it is what its name says.
fn whole(dir: &Path) -> Result<()> {
    let missing = fs::read_to_string(dir.join("missing.txt")).unwrap_or_default();
    ensure!(missing.is_empty(), "{missing}");
    for node in ["client", "server"] {
        let read = |file: &str| {
            let path = dir.join(node).join(file);
            fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        for file in FILES {
            read(file)?;
        }
        for (file, text) in [
            ("dmesg.txt", "Linux version"),
            ("qemu.txt", "qemu-system-x86_64"),
            ("qemu-state.txt", "RIP="),
            ("statistics.txt", "rswpout"),
            ("sysrq-memory.txt", "Mem-Info"),
            ("sysrq-tasks.txt", "task:kthreadd"),
        ] {
            ensure!(read(file)?.contains(text), "{node}: no {text} in {file}");
        }
    }
    // What remote swap says of itself at either end, with the session between.
    for (file, texts) in [
        ("client/statistics.txt", ["remoteswap/status", "state up"]),
        (
            "server/statistics.txt",
            ["memory server at", "capacity_bytes"],
        ),
    ] {
        let said = fs::read_to_string(dir.join(file))?;
        for text in texts {
            ensure!(said.contains(text), "no {text} in {file}: {said}");
        }
    }
    Ok(())
}

/// `collect` on a cluster that is well, with its memory.
fn all_is_kept(name: &str) -> Result<()> {
    let temp = tempfile::tempdir()?;
    let dir = temp.path().join("kept");
    let path = dir.to_str().context("a path in UTF-8")?;
    let collected = run(&["collect", "--name", name, "--dump", path])?;
    ensure!(collected.status.success(), "{collected:?}");
    whole(&dir)?;
    for node in ["client", "server"] {
        vmcore::check(&dir.join(node).join("vmcore"))?;
    }
    Ok(())
}

#[test]
fn a_planted_warning_fails_a_test_that_passes() -> Result<()> {
    let name = "test-splat";
    // Little, because all of it is dumped.
    let small = UpOptions {
        memory_mib: 256,
        server_mib: 16,
        swap: true,
        ..options(name)?
    };
    let cluster = Cluster::up(&small, &Reporter::auto())?;
    let error = guarded(cluster, |scene| {
        all_is_kept(name)?;
        Provoked::new(&scene.client)?.fault("WARNING")
    })
    .err()
    .context("the warning was not seen")?;
    let message = format!("{error:#}");
    let test = "own::splats::a_planted_warning_fails_a_test_that_passes";
    let expected = format!("guest splat (99) on client: warning on client during {test}");
    ensure!(message.starts_with(&expected), "{message}");
    ensure!(
        Cluster::attach(name).is_err(),
        "the cluster is still up after the failure"
    );
    let kept = newest_failure()?;
    whole(&kept)?;
    let traces = fs::read_to_string(kept.join("traces.txt"))?;
    ensure!(
        traces.contains("(fs/read_write.c:") || traces.contains(" in fs/read_write.c:"),
        "{traces}"
    );
    let of_module = traces
        .lines()
        .any(|line| line.contains(" [lkdtm]") && line.contains("drivers/misc/lkdtm/bugs.c:"));
    ensure!(of_module, "{traces}");
    Ok(())
}

/// The directory of the failure just now.
fn newest_failure() -> Result<PathBuf> {
    let next = failure_dir("next")?;
    let mut kept = Vec::new();
    for entry in fs::read_dir(next.parent().context("a directory")?)? {
        let path = entry?.path();
        kept.push((fs::metadata(&path)?.modified()?, path));
    }
    kept.sort();
    let (_, newest) = kept.pop().context("nothing was kept")?;
    Ok(newest)
}
