//! Clusters of virtual machines for swapping to another machine's memory.
//!
//! [`Cluster::up`] builds what is missing (kernel, module, guest image), boots
//! the nodes on the patched kernel, joins them by soft-RoCE links, proves each
//! of those, and turns remote swap on. Each cluster is owned by one
//! supervisor process; the `rapidswap` program and this library's [`Cluster`]
//! and [`Node`] are clients of it.
//!
//! ```no_run
//! use rapidswap_progress::Reporter;
//! use rapidswap_vm::{Cluster, UpOptions};
//!
//! let cluster = Cluster::up(&UpOptions::default(), &Reporter::auto())?;
//! let output = cluster.node("client")?.exec(["uname", "-r"])?;
//! assert!(output.status.success());
//! assert!(cluster.splats()?.is_empty());
//! cluster.down()?;
//! # Ok::<(), rapidswap_vm::Error>(())
//! ```

#![deny(unsafe_code)]

mod accel;
mod activity;
mod allowed;
pub mod clean;
mod cluster;
mod collect;
mod console;
mod counters;
mod debug;
mod device;
pub mod doctor;
mod error;
mod fault;
mod follow;
pub mod interrupt;
mod kernels;
pub mod latency;
mod lease;
mod limit;
mod link;
mod machine;
mod marks;
mod memo;
mod node;
mod occasion;
mod options;
mod outcome;
mod parity;
mod platform;
mod prepare;
mod probe;
mod process;
mod profile;
mod programs;
mod qemu;
mod qmp;
mod reading;
mod report;
mod request;
mod rundir;
mod size;
mod splat;
mod start;
mod states;
mod status;
pub mod supervisor;
pub mod swap;
mod symbols;
mod sys;
pub mod time_v;
mod tsc;
pub mod virtiofs;
pub mod wait;

use std::os::fd::BorrowedFd;

pub use accel::{Choice, decide};
pub use activity::{Activity, Rates, Sample, Serving, Swapping};
pub use allowed::Allowed;
pub use cluster::Cluster;
pub use collect::{Collected, Missing, collect, failure_dir, keep_failure};
pub use console::ConsoleScan;
pub use debug::{DebugStub, LoadedModule};
pub use device::Accel;
pub use error::{Error, Result};
pub use fault::{Fault, LinkFaults, Percent};
pub use kernels::{ModuleFolder, NodeKernel, NodeModule};
pub use limit::MemoryGroup;
pub use node::Node;
pub use occasion::{Occasion, TestRun};
pub use options::{AccelChoice, DEFAULT_NAME, UpOptions};
pub use outcome::{NO_KVM, Outcome, ended};
pub use parity::{Cap, End, Limit, Parity};
pub use platform::Platform;
pub use process::{Process, ProcessHandle};
pub use profile::{Address, CLIENT, Profile, ProfileLink, ProfileNode, ProfileNodes, Ssh};
pub use rapidswap_protocol::{Exec, ExitStatus, Output, WindowSize};
pub use reading::{Figures, Group, Memory, Reading};
pub use report::Report;
pub use size::{Size, human_readable};
pub use splat::{Splat, SplatKind, classify};
pub use status::{Gone, NodeState, NodeStatus, Start, Status};

/// The size of the terminal behind a descriptor, if it is one.
pub fn window_size(fd: BorrowedFd<'_>) -> Option<WindowSize> {
    sys::window_size(fd)
}
