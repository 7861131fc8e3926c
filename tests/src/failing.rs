//! Functions of a node's kernel, and its allocations, that fail when they are
//! told to.
//!
//! `Documentation/fault-injection/fault-injection.rst`, "fail_function",
//! "failslab" and "fail_page_alloc".

use std::ops::Range;

use anyhow::{Context, Result};

use crate::guest::Guest;

const DIR: &str = "/sys/kernel/debug/fail_function";

/// Functions that fail now and then, until this is dropped.
pub struct Failing<'a> {
    guest: &'a Guest,
    times: u64,
}

impl<'a> Failing<'a> {
    /// Has each call of `functions` whose number is a multiple of `every` fail,
    /// `times` of them at most. They are such as the kernel, or a module, marks
    /// by `ALLOW_ERROR_INJECTION`.
    pub fn new(
        guest: &'a Guest,
        functions: &[&str],
        every: u64,
        times: u64,
    ) -> Result<Failing<'a>> {
        let failing = Failing { guest, times };
        for (name, value) in [
            ("interval", every),
            ("times", times),
            // Without a stack for each.
            ("verbose", 0),
            ("probability", 100),
        ] {
            guest.write(&format!("{DIR}/{name}"), &value.to_string())?;
        }
        for function in functions {
            guest.write(&format!("{DIR}/inject"), function)?;
        }
        Ok(failing)
    }

    /// How often they have failed.
    pub fn count(&self) -> Result<u64> {
        let left = self.guest.read(&format!("{DIR}/times"))?;
        let left: u64 = left.trim().parse().with_context(|| format!("{left:?}"))?;
        Ok(self.times - left)
    }
}

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.guest.write(&format!("{DIR}/inject"), "\n") {
            eprintln!("{error:#}");
        }
    }
}

/// How allocations fail: small ones, and whole pages. The debug kernel's can.
const ALLOCATIONS: [&str; 2] = [
    "/sys/kernel/debug/failslab",
    "/sys/kernel/debug/fail_page_alloc",
];

/// Where a function of the kernel itself is.
pub fn function(guest: &Guest, name: &str) -> Result<Range<u64>> {
    // In the order of their addresses.
    let script = format!("awk '$3 == \"{name}\" {{ print $1; getline; print $1 }}' /proc/kallsyms");
    range(&guest.sh(&script)?).with_context(|| format!("where {name} is"))
}

/// Where the functions of a loaded module are.
pub fn functions(guest: &Guest, module: &str) -> Result<Range<u64>> {
    let script = format!(
        "awk '$4 == \"[{module}]\" && tolower($2) == \"t\" {{ print $1 }}' /proc/kallsyms \
        | sort | sed -n '1p; $p'"
    );
    range(&guest.sh(&script)?).with_context(|| format!("where {module} is"))
}

fn range(addresses: &str) -> Result<Range<u64>> {
    let mut each = addresses.lines().map(|line| u64::from_str_radix(line, 16));
    let mut next = || Ok::<u64, anyhow::Error>(each.next().context("no address")??);
    Ok(next()?..next()?)
}

/// Allocations that fail, until this is dropped, and that somebody in a part of
/// the kernel's code waits for.
pub struct FailingAllocations<'a> {
    guest: &'a Guest,
    times: u64,
}

impl<'a> FailingAllocations<'a> {
    /// Of both kinds `percent` of a hundred fail, `times` of each at most. With
    /// none those fail that a task has chosen by `/proc/self/fail-nth`.
    pub fn new(
        guest: &'a Guest,
        code: &Range<u64>,
        percent: u64,
        times: u64,
    ) -> Result<FailingAllocations<'a>> {
        // One that fails half-way has to be undone, too.
        let failing = FailingAllocations { guest, times };
        for kind in ALLOCATIONS {
            for (name, value) in [
                ("require-start", code.start),
                ("require-end", code.end),
                ("times", times),
                ("verbose", 0),
                // Those that may wait for reclaim are nearly all of them.
                ("ignore-gfp-wait", 0),
                ("probability", percent),
            ] {
                guest.write(&format!("{kind}/{name}"), &value.to_string())?;
            }
        }
        guest.write(&format!("{}/min-order", ALLOCATIONS[1]), "0")?;
        Ok(failing)
    }

    /// How many have failed.
    pub fn count(&self) -> Result<u64> {
        let left = ALLOCATIONS.map(|kind| format!("{kind}/times"));
        let left = self.guest.ok(&["cat", &left[0], &left[1]])?;
        let mut failed = 0;
        for left in left.lines() {
            let left: u64 = left.parse().with_context(|| format!("{left:?}"))?;
            failed += self.times - left;
        }
        Ok(failed)
    }
}

impl Drop for FailingAllocations<'_> {
    fn drop(&mut self) {
        for kind in ALLOCATIONS {
            for (name, value) in [("probability", "0"), ("times", "0")] {
                if let Err(error) = self.guest.write(&format!("{kind}/{name}"), value) {
                    eprintln!("{error:#}");
                }
            }
        }
    }
}
