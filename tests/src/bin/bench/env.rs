//! The environment, measured as a user meets it: by its commands, from start
//! to exit, beside what other tools take for one VM with the same kernel.

mod builds;
mod change;
mod cluster;
mod others;
mod timing;

use anyhow::{Context, Result, ensure};
use rapidswap_progress::Reporter;
use rapidswap_tests::median::median;
use rapidswap_tests::processes::tree;
use rapidswap_tests::table::Table;
use rapidswap_tests::wait::wait_until;
use rapidswap_vm::interrupt;
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};

use builds::Tests;
use cluster::Measured;
use others::Others;

/// How long a probe of KVM may go on where its answer is not waited for.
const KVM_VERDICT: Duration = Duration::from_secs(30);

/// What is decided sooner was not probed.
const KNOWN_S: f64 = 0.05;

/// What to measure, and how often.
#[derive(clap::Args)]
pub struct Env {
    /// Rounds of what takes seconds; medians are taken over these.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// What to leave out, with commas between; its keys are null.
    #[arg(long, value_name = "PART,…", value_enum, value_delimiter = ',')]
    skip: Vec<Part>,
    /// Name of the cluster that is brought up for it.
    #[arg(long, default_value = "bench-env")]
    name: String,
}

/// What takes long, or needs programs that are used for nothing else.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// One VM of vmtest and of virtme-ng.
    Others,
    /// A kernel and an image in an empty cache, and then a change of the kernel.
    Builds,
    /// All tests.
    Tests,
}

/// Every round's result, in the order of the rounds.
#[derive(Default, Serialize)]
struct Rounds {
    up_cold_s: Vec<f64>,
    up_restored_s: Vec<f64>,
    kvm_probe_s: Vec<f64>,
    kvm_cached_s: Vec<f64>,
    vmtest_s: Vec<f64>,
    vng_s: Vec<f64>,
    exec_s: Vec<f64>,
    panic_verdict_s: Vec<f64>,
    kernel_warm_s: Vec<f64>,
    image_warm_s: Vec<f64>,
}

/// Medians, in seconds or as ratios, and the rounds that they are of. What was
/// skipped is null.
#[derive(Default, Serialize)]
pub struct Outcome {
    up_cold_s: f64,
    up_vs_vmtest: Option<f64>,
    up_vs_vng: Option<f64>,
    up_restored_s: f64,
    kvm_probe_s: f64,
    kvm_cached_s: f64,
    exec_s: f64,
    panic_verdict_s: f64,
    kernel_cold_s: Option<f64>,
    kernel_warm_s: f64,
    image_cold_s: Option<f64>,
    image_warm_s: f64,
    mm_change_s: Option<f64>,
    test_warm_s: Option<f64>,
    tests: Option<u64>,
    tests_failed: Option<u64>,
    tests_skipped: Option<u64>,
    /// How the other tools were run.
    commands: Vec<String>,
    rounds: Rounds,
}

/// Measures everything that is not to be skipped.
pub fn bench(env: &Env, reporter: &Reporter) -> Result<Outcome> {
    interrupt::take_down("bench", Some(env.name.clone()), reporter)?;
    let wanted = |part| !env.skip.contains(&part);
    let kernel = builds::kernel_warm()?;
    let others = wanted(Part::Others)
        .then(|| Others::find(&kernel.vmlinux))
        .transpose()?;
    let mut rounds = Rounds::default();
    cluster::save(&env.name)?;
    for round in 0..env.rounds {
        let name = format!("bench env round {}", round + 1);
        let step = reporter.step(&name, Duration::from_secs(60));
        let Measured {
            up_cold_s,
            up_restored_s,
            exec_s,
            panic_verdict_s,
        } = cluster::measure(&env.name)?;
        rounds.up_cold_s.push(up_cold_s);
        rounds.up_restored_s.push(up_restored_s);
        let (probe_s, cached_s) = accelerator(&kernel.vmlinux)?;
        rounds.kvm_probe_s.push(probe_s);
        rounds.kvm_cached_s.push(cached_s);
        rounds.exec_s.extend(exec_s);
        rounds.panic_verdict_s.push(panic_verdict_s);
        if let Some(others) = &others {
            rounds.vmtest_s.push(others.vmtest()?);
            rounds.vng_s.push(others.vng()?);
        }
        rounds.kernel_warm_s.push(builds::kernel_warm()?.seconds);
        rounds.image_warm_s.push(builds::image_warm()?);
        step.done("measured");
    }
    let cold = wanted(Part::Builds)
        .then(|| builds::cold(&env.name, reporter))
        .transpose()?;
    let tests = wanted(Part::Tests)
        .then(|| Tests::run(reporter))
        .transpose()?;
    let middle = |values: &[f64]| median(values).context("no rounds");
    let up_cold_s = middle(&rounds.up_cold_s)?;
    let against = |values: &[f64]| median(values).map(|other| up_cold_s / other);
    Ok(Outcome {
        up_cold_s,
        up_vs_vmtest: against(&rounds.vmtest_s),
        up_vs_vng: against(&rounds.vng_s),
        up_restored_s: middle(&rounds.up_restored_s)?,
        kvm_probe_s: middle(&rounds.kvm_probe_s)?,
        kvm_cached_s: middle(&rounds.kvm_cached_s)?,
        exec_s: middle(&rounds.exec_s)?,
        panic_verdict_s: middle(&rounds.panic_verdict_s)?,
        kernel_cold_s: cold.as_ref().map(|cold| cold.kernel_s),
        kernel_warm_s: middle(&rounds.kernel_warm_s)?,
        image_cold_s: cold.as_ref().map(|cold| cold.image_s),
        image_warm_s: middle(&rounds.image_warm_s)?,
        mm_change_s: cold.as_ref().map(|cold| cold.mm_change_s),
        test_warm_s: tests.as_ref().map(|tests| tests.seconds),
        tests: tests.as_ref().map(|tests| tests.run),
        tests_failed: tests.as_ref().map(|tests| tests.failed),
        tests_skipped: tests.as_ref().map(|tests| tests.skipped),
        commands: others.map_or_else(Vec::new, |others| others.lines()),
        rounds,
    })
}

/// Seconds until it is decided what runs the guests, the first time and when
/// that is remembered.
fn accelerator(vmlinux: &Path) -> Result<(f64, f64)> {
    let cache = tempfile::tempdir().context("make an empty cache")?;
    let decide = || -> Result<f64> {
        let start = Instant::now();
        rapidswap_vm::decide(vmlinux, cache.path(), &Reporter::silent())?;
        Ok(start.elapsed().as_secs_f64())
    };
    let first = decide()?;
    // A verdict that comes late is remembered when it is there, and a guest that
    // may still come to one keeps a processor busy beside what is measured next.
    wait_until("a verdict on KVM", KVM_VERDICT, || {
        let there = std::fs::read_dir(cache.path())?.next().is_some();
        // What is known without a probe need not be remembered.
        let there = there || first < KNOWN_S;
        let mut own = tree(std::process::id())?.into_iter();
        let tries = own.any(|process| process.is_qemu());
        Ok((there && !tries).then_some(()))
    })?;
    Ok((first, decide()?))
}

impl Outcome {
    /// For people.
    pub fn table(&self) -> Table {
        let mut table = Table::default();
        for line in &self.commands {
            table.row("compared with", line);
        }
        let mut row = |name: &str, value: Option<f64>, digits: usize, aim: &str| {
            let value = value.map_or_else(
                || "skipped".to_owned(),
                |value| format!("{value:.digits$} (aim: {aim})"),
            );
            table.row(name, value);
        };
        row(
            "up, two VMs, link proved, s",
            Some(self.up_cold_s),
            1,
            "6.5",
        );
        row("as a ratio to vmtest, one VM", self.up_vs_vmtest, 2, "0.7");
        row("as a ratio to virtme-ng, one VM", self.up_vs_vng, 2, "0.3");
        row("up, restored, s", Some(self.up_restored_s), 1, "1");
        row("KVM decided, s", Some(self.kvm_probe_s), 2, "3");
        row("KVM remembered, s", Some(self.kvm_cached_s), 3, "0.050");
        row("exec, s", Some(self.exec_s), 3, "0.060");
        row("panic to verdict, s", Some(self.panic_verdict_s), 3, "0.2");
        row("kernel, empty cache, s", self.kernel_cold_s, 0, "840");
        row(
            "kernel, nothing changed, s",
            Some(self.kernel_warm_s),
            2,
            "1",
        );
        row("image, empty cache, s", self.image_cold_s, 0, "60");
        row(
            "image, nothing changed, s",
            Some(self.image_warm_s),
            2,
            "0.2",
        );
        let change = "a file in mm/ changed, two VMs up on it, s";
        row(change, self.mm_change_s, 0, "120");
        row("all tests, s", self.test_warm_s, 0, "900");
        if let (Some(run), Some(failed), Some(skipped)) =
            (self.tests, self.tests_failed, self.tests_skipped)
        {
            let counts = format!("{run} run, {failed} failed, {skipped} skipped");
            table.row("tests", counts);
        }
        table
    }

    /// An error if a test failed: what was measured is shown before.
    pub fn sound(&self) -> Result<()> {
        let failed = self.tests_failed.unwrap_or(0);
        ensure!(
            failed == 0,
            "{failed} tests failed: see target/nextest/default/junit.xml and target/failures"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_find_what_was_measured_by_its_name() {
        let found = serde_json::to_value(Outcome::default()).expect("JSON");
        for key in [
            "up_cold_s",
            "up_vs_vmtest",
            "up_vs_vng",
            "up_restored_s",
            "kvm_probe_s",
            "kvm_cached_s",
            "exec_s",
            "panic_verdict_s",
            "kernel_cold_s",
            "kernel_warm_s",
            "image_cold_s",
            "image_warm_s",
            "mm_change_s",
            "test_warm_s",
        ] {
            assert!(found.get(key).is_some(), "no {key}");
        }
    }
}
