//! Kernel, image and tests.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rapidswap_progress::Reporter;
use rapidswap_tests::rapidswap::{root, target};

use super::timing::timed_ok;

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
}

fn program(name: &str) -> Command {
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

/// Builds both in a cache of their own, which is removed afterwards.
pub fn cold(reporter: &Reporter) -> Result<Cold> {
    let place = tempfile::Builder::new()
        .prefix("cold-")
        .tempdir_in(target())
        .context("make an empty cache")?;
    let cache = place.path().join("rapidswap");
    fs::create_dir(&cache).context("make an empty cache")?;
    // The tools are part of setting a machine up, not of a build.
    symlink(rapidswap_vm::cache()?.join("tools"), cache.join("tools"))
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
    })
}

/// A run of the whole test command.
pub struct Tests {
    /// How long it took.
    pub seconds: f64,
    /// How many ran.
    pub run: u64,
    /// How many did not.
    pub skipped: u64,
}

impl Tests {
    /// Runs it, with everything built and cached.
    pub fn run(reporter: &Reporter) -> Result<Tests> {
        let step = reporter.step("all tests", Duration::from_secs(12 * 60));
        let start = Instant::now();
        let mut command = Command::new(root().join("just"));
        timed_ok(command.arg("test").current_dir(root()))?;
        let seconds = start.elapsed().as_secs_f64();
        step.done("passed");
        let report = target().join("nextest/default/junit.xml");
        let text =
            fs::read_to_string(&report).with_context(|| format!("read {}", report.display()))?;
        let (run, skipped) = counts(&text).context("no test in JUnit's report")?;
        ensure!(run > 0, "no test was run");
        Ok(Tests {
            seconds,
            run,
            skipped,
        })
    }
}

/// How many test cases JUnit's report has, and how many of them were skipped.
/// Of a report that nextest has just written nothing but two counts is wanted,
/// for which `quick-junit` would build all of it.
fn counts(report: &str) -> Option<(u64, u64)> {
    let cases = report.matches("<testcase ").count() as u64;
    let skipped = report.matches("<skipped").count() as u64;
    Some((cases.checked_sub(skipped)?, skipped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_cases_are_told_from_those_that_ran() {
        let report = r#"<testsuites><testsuite>
            <testcase name="a" time="1"></testcase>
            <testcase name="b"><skipped/></testcase>
        </testsuite></testsuites>"#;
        assert_eq!(counts(report), Some((1, 1)));
        assert_eq!(counts("<testsuites/>"), Some((0, 0)));
    }
}
