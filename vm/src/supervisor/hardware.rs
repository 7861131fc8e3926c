//! What a virtual machine of a cluster consists of.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{Origin, Plan, switch};
use crate::console;
use crate::error::{IoContext, Result};
use crate::qemu::device::{
    AgentPort, Board, Console, Control, Device, DumpNotes, Entropy, Identity, Incoming, Link,
    PanicWatch, Payload, RootDisk, SwapDisk,
};
use crate::qemu::machine::Machine;

/// The device to swap to, as a client knows it: the second disk.
pub(super) const SWAP: &str = "/dev/vdb";

/// What a QEMU inherits.
pub(super) struct Descriptors {
    pub(super) monitor: RawFd,
    pub(super) port: RawFd,
    pub(super) share: RawFd,
    pub(super) swap: Option<RawFd>,
}

/// The virtual machine of node `index`.
pub(super) fn machine(plan: &Plan, index: usize, run: &Path, fds: &Descriptors) -> Machine {
    let node = &plan.nodes[index];
    // Two nodes are joined directly.
    let remote = match plan.nodes.len() {
        2 => switch::socket(run, &plan.nodes[1 - index].name),
        _ => switch::ingress(run, &node.name),
    };
    let mut devices: Vec<Box<dyn Device>> = vec![
        Box::new(Identity {
            node: node.name.clone(),
            cluster: plan.name.clone(),
        }),
        Box::new(Board {
            accel: plan.accel,
            memory_mib: node.memory_mib,
            cpus: plan.cpus,
            tsc_khz: plan.tsc_khz,
        }),
        Box::new(PanicWatch),
        Box::new(DumpNotes),
        Box::new(Console {
            log: run.join(&node.name).join(console::FILE),
            socket: console::socket(run, &node.name),
        }),
        Box::new(Control { fd: fds.monitor }),
        Box::new(AgentPort { fd: fds.port }),
        Box::new(Entropy),
        Box::new(RootDisk {
            image: plan.image.clone(),
        }),
    ];
    if let Some(fd) = fds.swap {
        devices.push(Box::new(SwapDisk { fd }));
    }
    devices.push(Box::new(Link {
        local: switch::socket(run, &node.name),
        remote,
        station: switch::station(index),
        mtu: plan.profile.link.mtu,
    }));
    devices.push(Box::new(Payload { fd: fds.share }));
    if matches!(plan.origin, Origin::State(_)) {
        devices.push(Box::new(Incoming));
    }
    Machine {
        kernel: plan.vmlinux.clone(),
        initrd: run.join("initrd.cpio"),
        devices,
    }
}

/// A sparse file without a name: it is gone when its last user is.
pub(super) fn swap_disk(plan: &Plan) -> Result<OwnedFd> {
    let problem = || format!("cannot make a swap disk in {}", plan.scratch.display());
    let file = tempfile::tempfile_in(&plan.scratch).what(problem)?;
    file.set_len(plan.disk_mib << 20).what(problem)?;
    Ok(file.into())
}

/// Descriptors for a child, open here until it has started.
#[derive(Default)]
pub(super) struct Handed(Vec<OwnedFd>);

impl Handed {
    /// Takes charge of a descriptor; gives the child's number for it.
    pub(super) fn keep(&mut self, fd: OwnedFd) -> RawFd {
        let number = fd.as_raw_fd();
        self.0.push(fd);
        number
    }

    /// A connected pair: this side's end, and the child's number for the other.
    pub(super) fn socket(&mut self) -> Result<(UnixStream, RawFd)> {
        let (ours, theirs) = UnixStream::pair().what(|| "cannot make a socket".into())?;
        Ok((ours, self.keep(theirs.into())))
    }

    /// All of them, as the child knows them.
    pub(super) fn numbers(&self) -> Vec<RawFd> {
        self.0.iter().map(AsRawFd::as_raw_fd).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::QEMU;
    use crate::qemu::machine::printable;
    use crate::supervisor::plan;

    /// The command line of a node of a cluster with that many servers.
    fn line(servers: u32, index: usize) -> String {
        let fds = Descriptors {
            monitor: 10,
            port: 11,
            share: 13,
            swap: (index == 0).then_some(12),
        };
        let machine = machine(&plan(servers), index, Path::new("/run"), &fds);
        printable(QEMU, &machine.args())
    }

    #[test]
    fn a_third_node_is_joined_by_the_switch() {
        let golden = include_str!("../../tests/golden/qemu-switched.txt");
        assert_eq!(line(2, 2), golden);
        let paths = |line: &str| {
            let link = line.lines().find(|line| line.contains("-netdev"));
            link.expect("a link").to_owned()
        };
        assert!(paths(&line(2, 0)).contains("remote.path=/run/client.switch"));
        // Two are joined directly.
        assert!(paths(&line(1, 0)).contains("remote.path=/run/server.link"));
        assert!(paths(&line(1, 1)).contains("remote.path=/run/client.link"));
    }
}
