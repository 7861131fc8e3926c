//! A memory limit in a node, as `./just run` sets it.

use anyhow::{Context, Result};
use rapidswap_protocol::Output;
use rapidswap_vm::{MemoryGroup, Size};

use crate::guest::{Guest, Running};

/// A memory group with a limit. Dropped, it is removed with all that runs in
/// it.
pub struct Limit<'a> {
    guest: &'a Guest,
    group: Option<MemoryGroup>,
}

impl<'a> Limit<'a> {
    /// Makes a group of `mib` MiB.
    pub fn new(guest: &'a Guest, mib: u64) -> Result<Limit<'a>> {
        let group = MemoryGroup::create(&guest.node, Size::from_mib(mib))?;
        Ok(Limit {
            guest,
            group: Some(group),
        })
    }

    /// Lifts the limit; what was paged out stays where it is.
    pub fn lift(&self) -> Result<()> {
        Ok(self.group()?.lift()?)
    }

    /// Runs a command under the limit, on CPU 0, to its end. `time -v` reports
    /// on standard error.
    pub fn run(&self, command: &[&str]) -> Result<Output> {
        Ok(self.guest.node.exec(self.group()?.command("0", command))?)
    }

    /// Starts a command likewise.
    pub fn start(&self, command: &[&str]) -> Result<Running> {
        self.start_on("0", command)
    }

    /// Starts a command on these CPUs, for instance `0-3`.
    pub fn start_on(&self, cpus: &str, command: &[&str]) -> Result<Running> {
        self.guest.start(&self.group()?.command(cpus, command))
    }

    fn group(&self) -> Result<&MemoryGroup> {
        self.group.as_ref().context("the memory group is gone")
    }
}

impl Drop for Limit<'_> {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.group.take().map(MemoryGroup::remove) {
            eprintln!("{error}");
        }
    }
}
