//! What a cluster says about itself.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::kernels::{NodeKernel, NodeModule};
use crate::cluster::profile::{Address, Profile};
use crate::error::Result;
use crate::fault::LinkFaults;
use crate::outcome::Outcome;
use crate::qemu::device::Accel;

/// A running cluster, as `status` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// The accelerator it runs with.
    pub accel: Accel,
    /// Why that one.
    pub accel_reason: String,
    /// Whether its nodes booted.
    pub start: Start,
    /// Seconds spent on kernel, module and image; near 0 when all was cached.
    pub build_s: f64,
    /// Seconds from the start of the first QEMU until all was ready.
    pub up_s: f64,
    /// Seconds of these until the link was proved.
    pub link_s: f64,
    /// Whether swap was asked for at `up`.
    pub swap: bool,
    /// Which kernel the nodes run.
    pub kernel: NodeKernel,
    /// What that kernel calls itself.
    pub kernel_release: String,
    /// Its file, with line tables.
    pub vmlinux: PathBuf,
    /// What it has from the cache: kernel, modules, image, saved state.
    pub files: Vec<PathBuf>,
    /// Modules of somebody's own that nodes load.
    pub modules: Vec<NodeModule>,
    /// Whether there are links.
    pub link: bool,
    /// Processors of each node.
    pub cpus: u32,
    /// The supervisor's process.
    pub supervisor: u32,
    /// The directory that holds its socket and the consoles.
    pub run_dir: PathBuf,
    /// What it was told about its nodes and their link.
    pub profile: Profile,
    /// What is wrong with the links on purpose.
    pub link_faults: LinkFaults,
    /// Memory that the server offers when swap is on, in MiB.
    pub server_mib: u64,
    /// The server that the client swaps to when swap is on.
    pub swap_to: String,
    /// The nodes.
    pub nodes: Vec<NodeStatus>,
    /// Lines on any console that report a kernel fault.
    pub splats: usize,
}

/// How the nodes of a cluster came to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Whether they were restored from a saved state; they booted if not.
    pub restored: bool,
    /// Why, for people.
    pub reason: String,
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.restored { "restored" } else { "cold" };
        write!(f, "{how} ({})", self.reason)
    }
}

/// One node of a [`Status`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: NodeState,
    /// Whether its cable is plugged in.
    pub link_up: bool,
    /// Its address on the link.
    pub address: String,
    /// Its memory in MiB; 0 of a host, which has what it has.
    pub memory_mib: u64,
    /// Its QEMU process, or the `ssh` to it.
    pub pid: u32,
    /// The file its console goes to, or its kernel's log.
    pub console: PathBuf,
    /// The file that holds that process's command line.
    pub command_line: PathBuf,
    /// The device there that is swapped to, if it is the client.
    pub swap_area: Option<PathBuf>,
}

/// How a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Its kernel runs and its agent has not answered yet.
    Booting,
    /// Its agent answers.
    Up,
    /// Its processors are stopped; they can be resumed.
    Paused,
    /// It will not come back.
    Gone(Gone),
}

/// What became of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// What it ended as.
    pub outcome: Outcome,
    /// Why, for people.
    pub reason: String,
}

impl Status {
    /// How long what takes the release kernel so long may take this one, whatever
    /// the link.
    pub fn patient(&self, limit: Duration) -> Duration {
        limit * self.kernel.patience()
    }

    /// A limit that is meant for the release kernel and a link as fast as any.
    pub(crate) fn scaled(&self, limit: Duration) -> Duration {
        self.patient(self.profile.scaled(limit))
    }

    /// Every node with its address on the link, the client first.
    pub fn addresses(&self) -> Result<Vec<(String, Address)>> {
        let servers = self.nodes.len().saturating_sub(1);
        self.profile
            .nodes(u32::try_from(servers).unwrap_or(u32::MAX))
    }
}

impl NodeState {
    /// It in one word.
    pub fn word(&self) -> &'static str {
        match self {
            NodeState::Booting => "booting",
            NodeState::Up => "up",
            NodeState::Paused => "paused",
            NodeState::Gone(_) => "gone",
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeState::Gone(gone) => write!(f, "gone: {}", gone.reason),
            other => f.write_str(other.word()),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "cluster  {} (supervisor {})", self.name, self.supervisor)?;
        writeln!(f, "accel    {} ({})", self.accel.name(), self.accel_reason)?;
        writeln!(f, "start    {}", self.start)?;
        writeln!(f, "kernel   {} ({})", self.kernel_release, self.kernel)?;
        match self.swap {
            true => writeln!(f, "swap     to {}", self.swap_to)?,
            false => writeln!(f, "swap     off")?,
        }
        writeln!(
            f,
            "up in    {:.1} s (link {:.1} s; prepared in {:.1} s)",
            self.up_s, self.link_s, self.build_s
        )?;
        writeln!(f, "links    {}", self.link_faults)?;
        writeln!(f, "splats   {}", self.splats)?;
        write!(
            f,
            "\n{:<8} {:<8} {:<5} {:<12} {:>6} {:>8}  CONSOLE",
            "NODE", "STATE", "LINK", "ADDRESS", "MIB", "PID"
        )?;
        for node in &self.nodes {
            write!(
                f,
                "\n{:<8} {:<8} {:<5} {:<12} {:>6} {:>8}  {}",
                node.name,
                node.state.word(),
                if node.link_up { "up" } else { "down" },
                node.address,
                node.memory_mib,
                node.pid,
                node.console.display()
            )?;
        }
        for node in &self.nodes {
            if let NodeState::Gone(gone) = &node.state {
                write!(f, "\n{} is gone: {}", node.name, gone.reason)?;
            }
        }
        Ok(())
    }
}
