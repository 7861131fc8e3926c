//! What the benchmark compares still swaps, moves pages, and is gone
//! afterwards. The numbers of so short a run mean nothing.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rapidswap_tests::rapidswap::root;
use rapidswap_vm::Cluster;
use serde_json::Value;

fn bench(name: &str, options: &[&str], report: &Path) -> Result<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["swap", "--json", "--name", name])
        .args(options)
        .arg("--report")
        .arg(report)
        .current_dir(root())
        .output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {stderr}", output.status);
    ensure!(Cluster::attach(name).is_err(), "the cluster is still there");
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[test]
fn every_row_but_ours_swaps_and_leaves_nothing() -> Result<()> {
    let report = tempfile::tempdir()?;
    let rows = ["--rows", "nvme,nbd,zram,disk", "--workloads", "random"];
    // Two rounds, so that each is set up again where it was taken down.
    let options = [&["--rounds", "2", "--size", "4M"], &rows[..]].concat();
    let found = bench("test-bench-swap", &options, report.path())?;
    let runs = found["runs"].as_array().context("no runs")?;
    ensure!(runs.len() == 2 * 4, "{} runs", runs.len());
    for run in runs {
        for direction in ["pages_out", "pages_in"] {
            let pages = run[direction].as_u64().context("no number of pages")?;
            // Half of 4 MiB does not fit.
            ensure!(pages >= 512, "{direction}: {run}");
        }
    }
    let ratio = &found["ratios"]["app_vs_nvme_random"];
    let why = found["why"]["app_vs_nvme_random"].as_str();
    ensure!(ratio.is_null(), "a ratio to what was left out: {ratio}");
    ensure!(why.is_some_and(|why| why.contains("Rapidswap")), "{why:?}");
    ensure!(report.path().join("report.html").is_file(), "no report");
    Ok(())
}

#[test]
fn servers_under_a_limit_swap_and_answer_rightly() -> Result<()> {
    let report = tempfile::tempdir()?;
    let jobs = ["--workloads", "redis,memcached", "--rate", "500"];
    let options = [
        &["--rounds", "1", "--size", "16M", "--rows", "zram"],
        &jobs[..],
    ]
    .concat();
    let found = bench("test-bench-requests", &options, report.path())?;
    let runs = found["runs"].as_array().context("no runs")?;
    ensure!(runs.len() == 2, "{} runs", runs.len());
    for run in runs {
        let time = |of: &str, which: &str| {
            let time = run[of][which].as_f64();
            time.with_context(|| format!("no {which} in {of}: {run}"))
        };
        for of in ["latency", "local_latency"] {
            let (p50, p99) = (time(of, "p50_us")?, time(of, "p99_us")?);
            ensure!(0.0 < p50 && p50 <= p99, "{of}: {run}");
        }
        // Half of 16 MiB does not fit.
        for direction in ["pages_out", "pages_in"] {
            let pages = run[direction].as_u64().context("no number of pages")?;
            ensure!(pages >= 1024, "{direction}: {run}");
        }
    }
    let plot = report.path().join("latency-50.svg");
    ensure!(plot.is_file(), "no plot of requests");
    Ok(())
}

#[test]
fn our_rows_swap_and_are_compared_with_the_link() -> Result<()> {
    let report = tempfile::tempdir()?;
    let rows = ["--rows", "rapidswap,mglru,one-by-one"];
    let jobs = ["--workloads", "sequential", "--rounds", "1"];
    let options = [&["--size", "4M"], &rows[..], &jobs[..]].concat();
    let found = bench("test-bench-ours", &options, report.path())?;
    let runs = found["runs"].as_array().context("no runs")?;
    let backends: Vec<_> = runs.iter().map(|run| &run["backend"]).collect();
    ensure!(
        backends == ["rapidswap", "mglru", "one-by-one"],
        "{backends:?}"
    );
    for run in runs {
        for direction in ["pages_out", "pages_in"] {
            let pages = run[direction].as_u64().context("no number of pages")?;
            // Half of 4 MiB does not fit.
            ensure!(pages >= 512, "{direction}: {run}");
        }
    }
    for name in [
        "fault_p50_vs_read",
        "fault_p99_vs_read_p99",
        "fault_p99_pressure",
        "swapout_vs_write_bw",
        "swapin_vs_read_bw",
        "swapout_vs_fastswap",
        "fastswap_vs_write_lat",
    ] {
        // JSON has no number that is not finite.
        let ratio = found["ratios"][name].as_f64();
        ensure!(ratio.is_some_and(|ratio| ratio > 0.0), "{name}: {ratio:?}");
    }
    for name in ["kernel_mib_fixed", "kernel_mib_per_gib"] {
        // So short a run may find that nothing was taken.
        let mib = found["ratios"][name].as_f64();
        ensure!(mib.is_some(), "{name}: {mib:?}");
    }
    let ratio = &found["ratios"]["app_vs_nvme_sequential"];
    ensure!(ratio.is_null(), "a ratio to what was left out: {ratio}");
    Ok(())
}
