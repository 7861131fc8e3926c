//! Running the kernel's own build, with a log and a sense of how far it is.

use rapidswap_progress::{Reporter, Step};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::guarded::{Guarded, succeeded, telling};
use crate::lock::Lock;
use crate::toolchain::Toolchain;

/// Steps of a build from scratch, until this machine has counted its own.
const STEPS: usize = 2850;

/// How many of the last lines are shown when a build fails.
const TAIL: usize = 12;

/// make in a source tree with its products elsewhere.
pub(crate) struct Make<'a> {
    pub(crate) toolchain: &'a Toolchain,
    /// The source tree.
    pub(crate) linux: PathBuf,
    /// The `O=` directory.
    pub(crate) build: &'a Path,
}

impl Make<'_> {
    /// make with everything fixed that could differ from one run to another.
    pub(crate) fn command(&self) -> Guarded {
        let joined = |name: &str, path: &Path| format!("{name}={}", path.display());
        Guarded::new("nice")
            .args(["-n", "5", "make", "V=0", "-C"])
            .arg(&self.linux)
            .arg(joined("O", self.build))
            .args(self.toolchain.compilers.argument())
            .arg(joined("RUSTC", &self.toolchain.rustc))
            .arg(joined("HOSTRUSTC", &self.toolchain.rustc))
            .arg(joined("BINDGEN", &self.toolchain.bindgen))
            .args(self.toolchain.debug_info)
            .arg("LOCALVERSION=-rapidswap")
            .arg("KBUILD_BUILD_TIMESTAMP=2026-01-01")
            .arg("KBUILD_BUILD_USER=rapidswap")
            .arg("KBUILD_BUILD_HOST=rapidswap")
            .env("LIBCLANG_PATH", &self.toolchain.libclang)
    }

    /// make on all cores.
    pub(crate) fn parallel(&self) -> Guarded {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.command().arg(format!("-j{cores}"))
    }
}

/// A long build that is logged and reported.
pub(crate) struct Job<'a> {
    /// What is built, for people.
    pub(crate) what: &'a str,
    pub(crate) command: Guarded,
    /// Where to run it.
    pub(crate) dir: &'a Path,
    pub(crate) log: PathBuf,
    /// How long it takes on a machine that never did it.
    pub(crate) expect: Duration,
    /// Where the number of steps is remembered, if the job always has the
    /// same ones and so can tell how far it is.
    pub(crate) steps: Option<PathBuf>,
}

impl Job<'_> {
    pub(crate) fn run(self, lock: &Lock, reporter: &Reporter) -> Result<()> {
        let step = reporter.step(self.what, self.expect);
        let mut log = File::create(&self.log).map_err(Error::file("create", &self.log))?;
        let mut output = Vec::new();
        let mut meter = Meter::new(self.steps.as_deref());
        let status = self.command.lines(self.dir, lock, |line| {
            // One write for each line, so that the log can be followed.
            log.write_all(format!("{line}\n").as_bytes())
                .map_err(Error::file("write", &self.log))?;
            meter.line(line, &step);
            // The quiet steps of a good build say nothing when it fails.
            if !is_step(line) {
                output.push(line.to_owned());
            }
            Ok(())
        })?;
        if let Err(error) = succeeded(self.what, status, &output) {
            drop(step);
            for line in &output[output.len().saturating_sub(TAIL)..] {
                reporter.note(&format!("  | {line}"));
            }
            return Err(match error {
                Error::Command { .. } => Error::Build {
                    what: self.what.to_owned(),
                    why: telling(&output).to_owned(),
                    log: self.log,
                },
                other => other,
            });
        }
        if let Some(path) = self.steps {
            // Costs only an estimate when it fails.
            let _ = fs::write(path, meter.done.to_string());
        }
        step.done("done");
        Ok(())
    }
}

/// Counts the steps that make announces.
struct Meter {
    done: usize,
    expected: Option<usize>,
    /// Tenths already told to readers of plain lines.
    told: usize,
}

impl Meter {
    fn new(remembered: Option<&Path>) -> Meter {
        let expected = remembered.map(|path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            text.trim().parse().unwrap_or(STEPS).max(1)
        });
        Meter {
            done: 0,
            expected,
            told: 0,
        }
    }

    fn line(&mut self, line: &str, step: &Step) {
        if !is_step(line) {
            return;
        }
        self.done += 1;
        let Some(expected) = self.expected else {
            return;
        };
        let fraction = (self.done as f64 / expected as f64).min(1.0);
        let tenth = (fraction * 10.0) as usize;
        if tenth > self.told && tenth < 10 {
            self.told = tenth;
            step.message(&format!("{}0 %", tenth));
        }
        step.fraction(fraction);
    }
}

/// Whether a line is one of kbuild's short ones: `  CC      mm/swap.o`.
fn is_step(line: &str) -> bool {
    let Some(word) = line
        .strip_prefix("  ")
        .and_then(|rest| rest.split(' ').next())
    else {
        return false;
    };
    word.len() >= 2
        && word
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_from_talk() {
        for line in [
            "  CC      mm/swap.o",
            "  RUSTC L rust/core.o",
            "  CC [M]  a.o",
            "  AR      x",
        ] {
            assert!(is_step(line), "{line}");
        }
        for line in [
            "",
            "  ",
            "  and more",
            "mm/swap.c:1: error: x",
            "make[1]: Entering",
            "   CC x",
        ] {
            assert!(!is_step(line), "{line}");
        }
    }

    #[test]
    fn the_count_of_the_last_build_is_the_measure() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("steps");
        assert_eq!(Meter::new(Some(&path)).expected, Some(STEPS));
        fs::write(&path, "1234\n").expect("write");
        assert_eq!(Meter::new(Some(&path)).expected, Some(1234));
        assert_eq!(Meter::new(None).expected, None);
    }
}
