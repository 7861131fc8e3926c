//! What the benchmark compares with still swaps, moves pages, and is gone
//! afterwards. The numbers of so short a run mean nothing.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use rapidswap_tests::rapidswap::root;
use rapidswap_vm::Cluster;
use serde_json::Value;

const NAME: &str = "test-bench-swap";

#[test]
fn every_row_but_ours_swaps_and_leaves_nothing() -> Result<()> {
    let report = tempfile::tempdir()?;
    // Two rounds, so that each is set up again where it was taken down.
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["swap", "--json", "--rounds", "2", "--size", "4M"])
        .args(["--rows", "nvme,nbd,zram,disk", "--workloads", "random"])
        .args(["--name", NAME, "--report"])
        .arg(report.path())
        .current_dir(root())
        .output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {stderr}", output.status);
    ensure!(Cluster::attach(NAME).is_err(), "the cluster is still there");

    let found: Value = serde_json::from_slice(&output.stdout)?;
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
