//! What `./just` passes on, it passes on as it is.

use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::rapidswap::root;
use rapidswap_tests::reports::{PAGE_PATTERN, Verified, parse};
use rapidswap_tests::scene::on_cluster;
use rapidswap_tests::swap_area::Backing;
use rapidswap_tests::time_v::TimeReport;

/// `./just` of this checkout.
fn just(arguments: &[&str]) -> Result<Output> {
    Command::new(root().join("just"))
        .current_dir(root())
        .args(arguments)
        .output()
        .context("run ./just")
}

fn exec(command: &[&str]) -> Result<Output> {
    let mut output = None;
    on_cluster(|scene| {
        let name = scene.cluster.name();
        let words = [&["exec", "--name", name, "client", "--"][..], command].concat();
        output = Some(just(&words)?);
        Ok(())
    })?;
    output.context("nothing was run")
}

#[test]
fn arguments_arrive_as_typed() -> Result<()> {
    let typed = [
        "two words",
        "",
        "'single'",
        "\"double\"",
        "$HOME `id` $(id)",
        "a\\b",
        "*",
        "tab\there",
        "line\nbreak",
        "--name",
        "{{braces}}",
        "héllo",
        ";",
        "&&",
    ];
    let output = exec(&[&["printf", "%s\\0"][..], &typed].concat())?;
    ensure!(output.status.success(), "{output:?}");
    let arrived = String::from_utf8(output.stdout)?;
    let arrived: Vec<&str> = arrived.split_terminator('\0').collect();
    ensure!(arrived == typed, "{arrived:?}");
    Ok(())
}

#[test]
fn outputs_stay_apart_and_the_status_is_the_commands() -> Result<()> {
    let output = exec(&["sh", "-c", "printf out; printf err >&2; exit 42"])?;
    ensure!(output.status.code() == Some(42), "{output:?}");
    ensure!(
        output.stdout == b"out" && output.stderr == b"err",
        "{output:?}"
    );
    Ok(())
}

#[test]
fn a_killed_command_is_128_and_its_signal() -> Result<()> {
    let output = exec(&["sh", "-c", "kill -TERM $$"])?;
    ensure!(output.status.code() == Some(128 + 15), "{output:?}");
    Ok(())
}

#[test]
fn output_of_a_mebibyte_is_whole() -> Result<()> {
    let output = exec(&["sh", "-c", "head -c 1048576 /dev/zero"])?;
    ensure!(
        output.stdout.len() == 1 << 20,
        "{} bytes",
        output.stdout.len()
    );
    ensure!(output.stdout.iter().all(|byte| *byte == 0));
    Ok(())
}

/// `run` is `exec` under a memory limit, and `time -v` reports.
#[test]
fn run_limits_and_reports() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let name = scene.cluster.name();
        let arguments = ["run", "--name", name, "--limit", "16M", "--"];
        let command = [PAGE_PATTERN, "verify", "--mib", "24"];
        let output = just(&[&arguments[..], &command].concat())?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{stderr}");
        let verified: Verified = parse(String::from_utf8(output.stdout)?.trim())?;
        ensure!(verified.bytes_verified == 24 << 20 && verified.corrupt_bytes == 0);
        let report = TimeReport::parse(&stderr).context("no report of `time -v`")?;
        ensure!(
            report.exit_status == 0 && report.major_faults > 0,
            "{report:?}"
        );
        ensure!(report.max_resident_kib < 20 << 10, "{report:?}");
        let moved = swap.moved()?;
        ensure!(moved.stored > 0 && moved.disk_writes == 0, "{moved}");
        swap.end()
    })
}
