//! One file of `mm/` changed, until two VMs are up on the kernel that it makes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rapidswap_progress::Reporter;
use rapidswap_tests::rapidswap;

use super::builds::program;
use super::cluster::{bringing_up, down};
use super::timing::timed_ok;

/// The file, which all of the kernel's configurations with swap have.
const FILE: &str = "mm/workingset.c";

/// What its object has more.
const LINE: &str = "static const char rapidswap_change[] __used = \"changed\";";

/// Lines of a patch around what it adds.
const CONTEXT: usize = 3;

/// Seconds for both, with a cache below `home` that has the kernel as it was.
pub fn seconds(home: &Path, name: &str, reporter: &Reporter) -> Result<f64> {
    let step = reporter.step("a changed file in mm/", Duration::from_secs(60));
    let build = |more: &[&Path]| -> Result<(PathBuf, f64)> {
        let mut command = program("rapidswap-kernel");
        command.arg("build").args(more);
        let (output, seconds) = timed_ok(command.env("XDG_CACHE_HOME", home))?;
        let path = String::from_utf8(output.stdout).context("path of vmlinux")?;
        Ok((path.trim_end().into(), seconds))
    };
    let (before, _) = build(&[])?;
    let file = home.join("rapidswap/kernel/linux").join(FILE);
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let patch = home.join("change.patch");
    fs::write(&patch, longer(FILE, &text)).context("write a patch")?;
    let (after, built_s) = build(&["--patch".as_ref(), &patch])?;
    let mut up = bringing_up(name);
    up.arg("--cold").arg("--kernel").arg(&after);
    let (_, up_s) = timed_ok(up.env("XDG_CACHE_HOME", home))?;
    let booted = booted(name);
    down(name)?;
    let booted = booted?;
    ensure!(
        has(&after, &booted)? && !has(&before, &booted)?,
        "the nodes do not run the changed kernel {}",
        after.display()
    );
    step.done("two VMs are up on it");
    Ok(built_s + up_s)
}

/// A patch that has the file end with one line more.
fn longer(path: &str, text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let above = lines.len().saturating_sub(CONTEXT);
    let context = &lines[above..];
    let (first, count) = (above + 1, context.len());
    let context: String = context.iter().map(|line| format!(" {line}\n")).collect();
    format!(
        "--- a/{path}\n+++ b/{path}\n@@ -{first},{count} +{first},{} @@\n{context}+{LINE}\n",
        count + 1
    )
}

/// The notes of the kernel that a cluster's client runs: its build ID is in them.
fn booted(name: &str) -> Result<Vec<u8>> {
    let cat = ["exec", "client", "--", "cat", "/sys/kernel/notes"];
    let cat = [&["--name", name][..], &cat].concat();
    let (output, _) = timed_ok(&mut rapidswap::command(&cat))?;
    ensure!(!output.stdout.is_empty(), "the kernel has no notes");
    Ok(output.stdout)
}

/// Whether a kernel's file has these notes.
fn has(vmlinux: &Path, notes: &[u8]) -> Result<bool> {
    let bytes = fs::read(vmlinux).with_context(|| format!("read {}", vmlinux.display()))?;
    Ok(bytes.windows(notes.len()).any(|window| window == notes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_adds_a_line_at_the_end() {
        let patch = longer("mm/x.c", "one\n\ntwo\nthree\nfour\n");
        let expected =
            format!("--- a/mm/x.c\n+++ b/mm/x.c\n@@ -3,3 +3,4 @@\n two\n three\n four\n+{LINE}\n");
        assert_eq!(patch, expected);
    }
}
