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

pub mod clean;
mod cluster;
mod collect;
mod console;
pub mod doctor;
mod error;
mod fault;
pub mod interrupt;
mod link;
mod outcome;
mod parity;
mod qemu;
mod report;
mod size;
pub mod supervisor;
pub mod swap;
mod sys;
pub mod wait;

use std::os::fd::BorrowedFd;

pub use cluster::Cluster;
pub use cluster::debug::{DebugStub, LoadedModule};
pub use cluster::kernels::{ModuleFolder, NodeKernel, NodeModule};
pub use cluster::node::Node;
pub use cluster::options::{AccelChoice, DEFAULT_NAME, UpOptions};
pub use cluster::platform::Platform;
pub use cluster::process::{Process, ProcessHandle};
pub use cluster::profile::{Address, CLIENT, Profile, ProfileLink, ProfileNode, ProfileNodes, Ssh};
pub use cluster::status::{Gone, NodeState, NodeStatus, Start, Status};
pub use collect::{Collected, Missing, collect, failure_dir, keep_failure};
pub use console::ConsoleScan;
pub use console::allowed::Allowed;
pub use console::occasion::{Occasion, TestRun};
pub use console::splat::{Splat, SplatKind, classify};
pub use error::{Error, Result};
pub use fault::{Fault, LinkFaults, Percent};
pub use outcome::{NO_KVM, Outcome, ended};
pub use parity::{Cap, End, Limit, Parity};
pub use qemu::accel::{Choice, decide};
pub use qemu::device::Accel;
pub use qemu::virtiofs;
pub use rapidswap_protocol::{Exec, ExitStatus, Output, WindowSize};
pub use report::Report;
pub use size::{Size, human_readable};
pub use swap::activity::{Activity, Rates, Sample, Serving, Swapping};
pub use swap::limit::MemoryGroup;
pub use swap::reading::{Figures, Group, Memory, Reading};

/// The size of the terminal behind a descriptor, if it is one.
pub fn window_size(fd: BorrowedFd<'_>) -> Option<WindowSize> {
    sys::window_size(fd)
}
