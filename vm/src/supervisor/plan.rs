//! What a supervisor is told, and what it tells whoever starts it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cluster::kernels::{NodeKernel, NodeModule};
use crate::cluster::profile::{Profile, Ssh};
use crate::cluster::status::{Start, Status};
use crate::error::Error;
use crate::fault::LinkFaults;
use crate::qemu::Qemu;
use crate::qemu::device::Accel;

/// Everything a supervisor is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) name: String,
    /// The directory of run directories.
    pub(crate) base: PathBuf,
    pub(crate) accel: Accel,
    pub(crate) accel_reason: String,
    /// Rate of the host's time stamp counter, for translated guests.
    pub(crate) tsc_khz: Option<u32>,
    /// What runs the guests.
    pub(crate) qemu: Qemu,
    pub(crate) origin: Origin,
    pub(crate) start: Start,
    pub(crate) vmlinux: PathBuf,
    pub(crate) kernel: NodeKernel,
    pub(crate) kernel_release: String,
    pub(crate) agent: PathBuf,
    /// The guests' root file system; empty where there are none.
    pub(crate) image: PathBuf,
    pub(crate) programs: Vec<PathBuf>,
    pub(crate) modules: Vec<PathBuf>,
    /// Which of them nodes load when their links are up.
    pub(crate) loads: Vec<NodeModule>,
    /// Whether there are to be links.
    pub(crate) link: bool,
    /// For disks; on a file system with room.
    pub(crate) scratch: PathBuf,
    pub(crate) cpus: u32,
    pub(crate) disk_mib: u64,
    /// Memory that the server offers.
    pub(crate) server_mib: u64,
    /// The server that the client swaps to.
    pub(crate) swap_to: String,
    pub(crate) boot_deadline_s: u64,
    pub(crate) build_s: f64,
    pub(crate) profile: Profile,
    pub(crate) nodes: Vec<NodePlan>,
}

impl Plan {
    /// What a running cluster has from the cache.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.vmlinux.clone(), self.image.clone()];
        files.extend(self.modules.iter().cloned());
        if let Origin::State(dir) = &self.origin {
            files.push(dir.clone());
        }
        // Hosts have no image.
        files.retain(|file| !file.as_os_str().is_empty());
        files
    }

    /// What a cluster says of itself before any of its nodes is there.
    pub(crate) fn status(&self, run: &Path) -> Status {
        Status {
            name: self.name.clone(),
            accel: self.accel,
            accel_reason: self.accel_reason.clone(),
            start: self.start.clone(),
            build_s: self.build_s,
            up_s: 0.0,
            link_s: 0.0,
            swap: false,
            kernel: self.kernel.clone(),
            kernel_release: self.kernel_release.clone(),
            vmlinux: self.vmlinux.clone(),
            files: self.files(),
            modules: self.loads.clone(),
            link: self.link,
            cpus: self.cpus,
            supervisor: std::process::id(),
            run_dir: run.to_owned(),
            profile: self.profile.clone(),
            link_faults: LinkFaults::default(),
            server_mib: self.server_mib,
            swap_to: self.swap_to.clone(),
            nodes: Vec::new(),
            splats: 0,
        }
    }
}

/// What the nodes come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Origin {
    /// They boot.
    Boot,
    /// They boot, and then wait to be saved by [`LeaseOrder::Save`] before
    /// they are what only this cluster is.
    BootToSave,
    /// They are restored from the files in this directory.
    State(PathBuf),
}

/// One node of a [`Plan`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NodePlan {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) memory_mib: u64,
    pub(crate) swap_disk: bool,
    /// What there is to know of a host.
    pub(crate) host: Option<HostPlan>,
}

/// A node that is a machine of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HostPlan {
    pub(crate) ssh: Ssh,
    pub(crate) netdev: String,
    /// The disk to swap to, if it is not a file.
    pub(crate) disk: Option<PathBuf>,
    /// Which build of the kernel it has to run.
    pub(crate) build_id: String,
}

/// What the holder of the lease says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum LeaseOrder {
    /// What to run; the first message.
    Plan(Box<Plan>),
    /// Save the nodes in this directory, then let them go on.
    Save(PathBuf),
    /// The cluster is good: keep it.
    Commit { up_s: f64, link_s: f64, swap: bool },
}

/// What the supervisor says to the holder of the lease.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum LeaseReport {
    /// This node's agent answers.
    Booted(String),
    /// All nodes are up and the socket answers.
    Ready,
    /// All nodes are saved, or are not, for this reason; they go on.
    Saved(Result<(), String>),
    /// The cluster no longer depends on the lease.
    Committed,
    /// The name is taken.
    AlreadyUp,
    /// A node did not boot.
    BootFailed {
        node: String,
        reason: String,
        tail: String,
    },
    /// Anything else that failed.
    Failed(String),
}

impl LeaseReport {
    /// What is said of an error.
    pub(crate) fn of(error: Error) -> LeaseReport {
        match error {
            Error::AlreadyUp(_) => LeaseReport::AlreadyUp,
            Error::Boot { node, reason, tail } => LeaseReport::BootFailed { node, reason, tail },
            Error::Hangs { ref node, .. } => LeaseReport::BootFailed {
                node: node.clone(),
                reason: error.to_string(),
                tail: String::new(),
            },
            other => LeaseReport::Failed(other.to_string()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cluster::options::UpOptions;

    /// A plan for virtual machines none of whose files are there: the client
    /// and that many servers.
    pub(crate) fn plan(servers: u32) -> Plan {
        let options = UpOptions::default();
        let profile = Profile::load(&options.profile).expect("shipped");
        let nodes = profile.nodes(servers).expect("addresses");
        let nodes = nodes.into_iter().enumerate();
        Plan {
            name: options.name,
            base: "/run".into(),
            accel: Accel::Tcg,
            accel_reason: "asked for".into(),
            tsc_khz: Some(2_600_000),
            qemu: Qemu {
                program: "/bin/qemu".into(),
                version: "10.0".into(),
                named: false,
            },
            origin: Origin::Boot,
            start: Start {
                restored: false,
                reason: "asked for".into(),
            },
            vmlinux: "/cache/vmlinux".into(),
            kernel: profile.kernel.into(),
            kernel_release: "6.12".into(),
            agent: "/build/agent".into(),
            image: "/cache/root.ext4".into(),
            programs: vec!["/build/rxe-setup".into()],
            modules: vec!["/cache/remoteswap.ko".into()],
            loads: Vec::new(),
            link: true,
            scratch: "/cache/scratch".into(),
            cpus: 1,
            disk_mib: 256,
            server_mib: 256,
            swap_to: "server".into(),
            boot_deadline_s: 120,
            build_s: 0.0,
            nodes: nodes
                .map(|(index, (name, address))| NodePlan {
                    name,
                    address: address.ip.to_string(),
                    memory_mib: 512,
                    swap_disk: index == 0,
                    host: None,
                })
                .collect(),
            profile,
        }
    }
}
