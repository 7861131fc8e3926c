//! A memory limit in a node, as `./just run` sets it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rapidswap_protocol::Output;
use rapidswap_vm::{MemoryGroup, Size};

use crate::guest::{Guest, Running};
use crate::scene::scaled;

/// How long the kernel may take until it is below a limit.
const LOWERED: Duration = Duration::from_secs(20);

/// Bytes in a page.
const PAGE: u64 = 4096;

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

    /// Changes the limit to `mib` MiB: to a lower one it is reclaimed before
    /// this returns. The kernel gives up at the first pass that frees nothing,
    /// which happens while the memory is worked on, whatever it swaps to; so
    /// it is asked again. Says how often it was asked.
    pub fn set(&self, mib: u64) -> Result<u32> {
        let start = Instant::now();
        let limit = scaled(LOWERED)?;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.set_once(mib) {
                Ok(()) => return Ok(tries),
                Err(error) if start.elapsed() > limit => {
                    return Err(error).with_context(|| format!("tried {tries} times"));
                }
                Err(_) => {}
            }
        }
    }

    /// Asks the kernel once.
    pub fn set_once(&self, mib: u64) -> Result<()> {
        Ok(self.group()?.set_limit(Size::from_mib(mib))?)
    }

    /// Leaves it room for `pages` pages more than it has in memory.
    pub fn leave(&self, pages: u64) -> Result<()> {
        let bytes = self.usage()?.bytes() + pages * PAGE;
        Ok(self.group()?.set_limit(Size::from_bytes(bytes))?)
    }

    /// A number of the group's `memory.stat`.
    pub fn stat(&self, name: &str) -> Result<u64> {
        Ok(self.group()?.stat(name)?)
    }

    /// Writes to one of the group's files.
    pub fn set_parameter(&self, file: &str, value: &str) -> Result<()> {
        self.guest.write(&self.file(file)?, value)
    }

    /// The process in it that runs a program of this name.
    pub fn pid_of(&self, program: &str) -> Result<u32> {
        let processes = self.guest.read(&self.file("cgroup.procs")?)?;
        for pid in processes.lines() {
            if self.guest.read(&format!("/proc/{pid}/comm"))?.trim() == program {
                return Ok(pid.parse()?);
            }
        }
        bail!("no {program} is in the group")
    }

    fn file(&self, name: &str) -> Result<String> {
        Ok(self.group()?.file(name))
    }

    /// What is in memory of the group.
    pub fn usage(&self) -> Result<Size> {
        Ok(self.group()?.usage()?)
    }

    /// What is paged out of the group.
    pub fn paged_out(&self) -> Result<Size> {
        Ok(self.group()?.paged_out()?)
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
