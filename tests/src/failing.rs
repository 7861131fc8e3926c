//! Functions of a node's kernel that fail when they are told to.
//!
//! `Documentation/fault-injection/fault-injection.rst`, "fail_function".

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
