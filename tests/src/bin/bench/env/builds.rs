//! Kernel, image and tests.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rapidswap_progress::Reporter;
use rapidswap_tests::rapidswap::{root, target};

use super::change;
use super::timing::{timed, timed_ok};

/// A kernel that is there.
pub struct Kernel {
    /// Its image.
    pub vmlinux: PathBuf,
    /// How long it took to find that nothing changed.
    pub seconds: f64,
}

/// What an empty cache costs, in seconds.
pub struct Cold {
    /// From the source's archive to a kernel with its modules.
    pub kernel_s: f64,
    /// From the list of packages to a file system.
    pub image_s: f64,
    /// From a change of the kernel to two VMs up on it.
    pub mm_change_s: f64,
}

/// A program of this checkout's.
pub fn program(name: &str) -> Command {
    Command::new(target().join("release").join(name))
}

/// Finds the kernel; the first time it may have to be built.
pub fn kernel_warm() -> Result<Kernel> {
    let (output, seconds) = timed_ok(program("rapidswap-kernel").arg("build"))?;
    let path = String::from_utf8(output.stdout).context("path of vmlinux")?;
    Ok(Kernel {
        vmlinux: path.trim_end().into(),
        seconds,
    })
}

/// Seconds to find the image.
pub fn image_warm() -> Result<f64> {
    Ok(timed_ok(program("rapidswap-images").arg("build"))?.1)
}

/// Builds both in a cache of their own, and there a changed kernel, on which the
/// cluster `name` is brought up and taken down. The cache is removed afterwards.
pub fn cold(name: &str, reporter: &Reporter) -> Result<Cold> {
    let place = tempfile::Builder::new()
        .prefix("cold-")
        .tempdir_in(target())
        .context("make an empty cache")?;
    let cache = place.path().join("rapidswap");
    fs::create_dir(&cache).context("make an empty cache")?;
    // The tools are part of setting a machine up, not of a build.
    symlink(rapidswap_cache::root()?.join("tools"), cache.join("tools"))
        .context("share the tools")?;
    let build = |name: &str, what: &str, expect| -> Result<f64> {
        let step = reporter.step(what, expect);
        let mut command = program(name);
        command.arg("build").env("XDG_CACHE_HOME", place.path());
        let (_, seconds) = timed_ok(&mut command)?;
        step.done("built");
        Ok(seconds)
    };
    let image = Duration::from_secs(60);
    let kernel = Duration::from_secs(14 * 60);
    Ok(Cold {
        image_s: build("rapidswap-images", "image in an empty cache", image)?,
        kernel_s: build("rapidswap-kernel", "kernel in an empty cache", kernel)?,
        mm_change_s: change::seconds(place.path(), name, reporter)?,
    })
}

fn just(recipe: &str) -> Command {
    let mut command = Command::new(root().join("just"));
    command.arg(recipe).current_dir(root());
    command
}

/// A run of the whole test command.
pub struct Tests {
    /// How long it took.
    pub seconds: f64,
    /// How many ran.
    pub run: u64,
    /// How many of those failed.
    pub failed: u64,
    /// How many did not run.
    pub skipped: u64,
}

impl Tests {
    /// Runs it, with everything built and cached.
    pub fn run(reporter: &Reporter) -> Result<Tests> {
        let step = reporter.step("what tests need", Duration::from_secs(5 * 60));
        timed_ok(&mut just("test-ready"))?;
        step.done("built");
        let step = reporter.step("all tests", Duration::from_secs(12 * 60));
        let (output, seconds) = timed(&mut just("test"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let tests = Tests::summed_up(&said, seconds);
        let tests = tests.with_context(|| format!("no test was run: {said}"))?;
        ensure!(
            output.status.success() == (tests.failed == 0),
            "./just test: {}, and {} tests failed",
            output.status,
            tests.failed
        );
        step.done(&format!("{} of {} failed", tests.failed, tests.run));
        Ok(tests)
    }

    /// By nextest's last line. JUnit's report does not say how many a filter
    /// left out.
    fn summed_up(said: &str, seconds: f64) -> Option<Tests> {
        let line = said.lines().rfind(|line| line.contains("Summary ["))?;
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let before = |what: &str| {
            let at = words
                .iter()
                .position(|word| word.trim_end_matches([',', 's']) == what)?;
            words.get(at.checked_sub(1)?)?.parse().ok()
        };
        Some(Tests {
            seconds,
            run: before("test")?,
            failed: before("failed").unwrap_or(0) + before("timed").unwrap_or(0),
            skipped: before("skipped").unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_told_by_what_became_of_them() {
        let counts = |said: &str| {
            let tests = Tests::summed_up(said, 1.0)?;
            Some((tests.run, tests.failed, tests.skipped))
        };
        let said = "        PASS [   0.004s] a Summary of b\n------------\n     \
             Summary [ 868.201s] 619 tests run: 619 passed (3 slow), 8 skipped\n";
        assert_eq!(counts(said), Some((619, 0, 8)));
        let said = "     Summary [   0.004s] 1 test run: 1 passed, 0 skipped\n";
        assert_eq!(counts(said), Some((1, 0, 0)));
        let said = "     Summary [ 817.727s] 703 tests run: 700 passed (9 slow), 2 failed, \
             1 timed out, 0 skipped\n";
        assert_eq!(counts(said), Some((703, 3, 0)));
        assert_eq!(counts("error: no tests to run\n"), None);
    }
}
