//! Functions of a node's kernel, and its allocations, that fail when they are
//! told to.
//!
//! `Documentation/fault-injection/fault-injection.rst`, "fail_function",
//! "failslab" and "fail_page_alloc".

use std::ops::Range;

use anyhow::{Context, Result};

use crate::guest::Guest;

const DIR: &str = "/sys/kernel/debug/fail_function";

/// Sets what decides of a kind of failure, whose directory that is. None has a
/// stack in the log.
fn set(guest: &Guest, kind: &str, attributes: &[(&str, u64)]) -> Result<()> {
    for (name, value) in [("verbose", 0)].iter().chain(attributes) {
        guest.write(&format!("{kind}/{name}"), &value.to_string())?;
    }
    Ok(())
}

/// How many more there may be of a kind.
fn left(guest: &Guest, kind: &str) -> Result<u64> {
    let left = guest.read(&format!("{kind}/times"))?;
    left.trim().parse().with_context(|| format!("{left:?}"))
}

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
        let attributes = [("interval", every), ("times", times), ("probability", 100)];
        set(guest, DIR, &attributes)?;
        for function in functions {
            guest.write(&format!("{DIR}/inject"), function)?;
        }
        Ok(failing)
    }

    /// How often they have failed.
    pub fn count(&self) -> Result<u64> {
        Ok(self.times - left(self.guest, DIR)?)
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
            let attributes = [
                ("require-start", code.start),
                ("require-end", code.end),
                ("times", times),
                // Those that may wait for reclaim are nearly all of them.
                ("ignore-gfp-wait", 0),
                ("probability", percent),
            ];
            set(guest, kind, &attributes)?;
        }
        set(guest, ALLOCATIONS[1], &[("min-order", 0)])?;
        Ok(failing)
    }

    /// How many have failed.
    pub fn count(&self) -> Result<u64> {
        let mut failed = 0;
        for kind in ALLOCATIONS {
            failed += self.times - left(self.guest, kind)?;
        }
        Ok(failed)
    }
}

impl Drop for FailingAllocations<'_> {
    fn drop(&mut self) {
        for kind in ALLOCATIONS {
            if let Err(error) = set(self.guest, kind, &[("probability", 0), ("times", 0)]) {
                eprintln!("{error:#}");
            }
        }
    }
}
