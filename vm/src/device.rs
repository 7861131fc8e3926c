//! The devices a node is made of. A device is a small type that knows both
//! its QEMU arguments and its kernel arguments; all of it is pure data.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// Name of the virtio-serial port that carries the agent protocol.
pub const AGENT_PORT: &str = "rapidswap.agent";

/// Tag of the virtiofs share with the host-built programs and modules.
pub const PAYLOAD_TAG: &str = "payload";

/// MTU of the link: the smallest round number that leaves room for a 4 KiB
/// page and all RoCE v2 headers in one packet.
pub const LINK_MTU: u32 = 4200;

/// One part of a virtual machine.
pub trait Device {
    /// What it adds to the QEMU command line.
    fn qemu_args(&self) -> Vec<OsString>;

    /// What it adds to the kernel command line.
    fn kernel_args(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The accelerator a cluster runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// The processor's own virtualisation.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

impl Accel {
    /// The name QEMU and reports use.
    pub fn name(self) -> &'static str {
        match self {
            Accel::Kvm => "kvm",
            Accel::Tcg => "tcg",
        }
    }
}

/// The board: accelerator, processors, memory.
#[derive(Clone, Debug)]
pub struct Board {
    /// The accelerator; machine flags depend on it.
    pub accel: Accel,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Number of processors.
    pub cpus: u32,
}

impl Device for Board {
    fn qemu_args(&self) -> Vec<OsString> {
        let (accel, cpu) = match self.accel {
            Accel::Kvm => ("kvm", "host"),
            // Five-level page tables only make the translated MMU slower.
            Accel::Tcg => ("tcg,thread=multi,tb-size=256", "max,la57=off"),
        };
        let memory = self.memory_mib;
        let mut args = vec![
            "-machine".into(),
            "q35,memory-backend=ram,usb=off,vmport=off,smm=off,sata=off".into(),
        ];
        args.extend(["-accel", accel, "-cpu", cpu].map(OsString::from));
        args.extend(["-smp".into(), self.cpus.to_string().into()]);
        args.extend(["-m".into(), format!("{memory}M").into()]);
        // Shared, because the virtiofs process reads and writes it too.
        args.push("-object".into());
        args.push(format!("memory-backend-memfd,id=ram,size={memory}M,share=on").into());
        args
    }

    fn kernel_args(&self) -> Vec<String> {
        let mut args = words("nokaslr");
        if self.accel == Accel::Tcg {
            // Nothing drifts under TCG: do not calibrate against the PM timer
            // and do not doubt the result on a busy host.
            args.extend(words(
                "tsc=reliable no_timer_check rcupdate.rcu_expedited=1",
            ));
        }
        args
    }
}

/// A panicked or rebooting guest stops where it is and QEMU says so.
#[derive(Clone, Copy, Debug)]
pub struct PanicWatch;

impl Device for PanicWatch {
    fn qemu_args(&self) -> Vec<OsString> {
        // Paused, not ended: the console's last lines and a dump survive.
        words("-no-reboot -action panic=pause -device pvpanic-pci")
    }

    fn kernel_args(&self) -> Vec<String> {
        words("panic=-1 oops=panic")
    }
}

/// The kernel's console, kept in a file.
#[derive(Clone, Debug)]
pub struct Console {
    /// The file it goes to.
    pub log: PathBuf,
}

impl Device for Console {
    fn qemu_args(&self) -> Vec<OsString> {
        let mut log = OsString::from("file,id=console,path=");
        log.push(escape(self.log.as_os_str()));
        vec![
            "-chardev".into(),
            log,
            "-serial".into(),
            "chardev:console".into(),
        ]
    }

    fn kernel_args(&self) -> Vec<String> {
        // Each byte on an emulated UART costs a trap, so information is left
        // out; warnings, which every splat consists of, are not.
        words("console=ttyS0,115200 loglevel=5")
    }
}

/// The kernel's console on an inherited, connected socket, for who watches it.
#[derive(Clone, Copy, Debug)]
pub struct SerialStream {
    /// The inherited descriptor.
    pub fd: RawFd,
}

impl Device for SerialStream {
    fn qemu_args(&self) -> Vec<OsString> {
        let chardev = format!("socket,id=console,fd={}", self.fd);
        vec![
            "-chardev".into(),
            chardev.into(),
            "-serial".into(),
            "chardev:console".into(),
        ]
    }

    fn kernel_args(&self) -> Vec<String> {
        words("console=ttyS0,115200 loglevel=5")
    }
}

/// QEMU's control channel on an inherited, connected socket.
#[derive(Clone, Copy, Debug)]
pub struct Control {
    /// The inherited descriptor.
    pub fd: RawFd,
}

impl Device for Control {
    fn qemu_args(&self) -> Vec<OsString> {
        vec![
            "-chardev".into(),
            format!("socket,id=qmp,fd={}", self.fd).into(),
            "-mon".into(),
            "chardev=qmp,mode=control".into(),
        ]
    }
}

/// The agent's virtio-serial port on an inherited, connected socket.
#[derive(Clone, Copy, Debug)]
pub struct AgentPort {
    /// The inherited descriptor.
    pub fd: RawFd,
}

impl Device for AgentPort {
    fn qemu_args(&self) -> Vec<OsString> {
        vec![
            "-device".into(),
            "virtio-serial-pci".into(),
            "-chardev".into(),
            format!("socket,id=agent,fd={}", self.fd).into(),
            "-device".into(),
            format!("virtserialport,chardev=agent,name={AGENT_PORT}").into(),
        ]
    }
}

/// Randomness, so that nothing in the guest waits for it.
#[derive(Clone, Copy, Debug)]
pub struct Entropy;

impl Device for Entropy {
    fn qemu_args(&self) -> Vec<OsString> {
        words("-device virtio-rng-pci")
    }

    fn kernel_args(&self) -> Vec<String> {
        words("random.trust_cpu=on")
    }
}

/// The root file system: one image shared by all, writes private and
/// forgotten at the end.
#[derive(Clone, Debug)]
pub struct RootDisk {
    /// The ext4 image.
    pub image: PathBuf,
}

impl Device for RootDisk {
    fn qemu_args(&self) -> Vec<OsString> {
        let mut drive = OsString::from("if=none,id=root,format=raw,snapshot=on,file=");
        drive.push(escape(self.image.as_os_str()));
        vec![
            "-drive".into(),
            drive,
            "-device".into(),
            "virtio-blk-pci,drive=root".into(),
        ]
    }
}

/// The swap disk, a nameless file that ends with its QEMU.
#[derive(Clone, Copy, Debug)]
pub struct SwapDisk {
    /// The inherited descriptor, open for reading and writing.
    pub fd: RawFd,
}

impl Device for SwapDisk {
    fn qemu_args(&self) -> Vec<OsString> {
        vec![
            "-add-fd".into(),
            format!("fd={},set=1", self.fd).into(),
            "-blockdev".into(),
            "driver=file,node-name=swap,filename=/dev/fdset/1,discard=unmap".into(),
            "-device".into(),
            "virtio-blk-pci,drive=swap".into(),
        ]
    }
}

/// One end of the link between two nodes: datagrams over unix sockets, which
/// need no root, no order of start, and drop what nobody receives.
#[derive(Clone, Debug)]
pub struct Link {
    /// This end's socket; QEMU makes it.
    pub local: PathBuf,
    /// The other end's socket.
    pub remote: PathBuf,
    /// Last byte of the MAC address.
    pub station: u8,
}

impl Device for Link {
    fn qemu_args(&self) -> Vec<OsString> {
        let mut netdev = OsString::from("dgram,id=link,local.type=unix,local.path=");
        netdev.push(escape(self.local.as_os_str()));
        netdev.push(",remote.type=unix,remote.path=");
        netdev.push(escape(self.remote.as_os_str()));
        // Without a boot ROM: the firmware would initialise it.
        let device = format!(
            "virtio-net-pci,netdev=link,mac=52:54:00:52:53:{:02x},host_mtu={LINK_MTU},romfile=",
            self.station
        );
        vec!["-netdev".into(), netdev, "-device".into(), device.into()]
    }

    fn kernel_args(&self) -> Vec<String> {
        words("net.ifnames=0")
    }
}

/// The virtiofs share with host-built programs and modules, on an inherited
/// socket connected to the virtiofs process.
#[derive(Clone, Copy, Debug)]
pub struct Payload {
    /// The inherited descriptor.
    pub fd: RawFd,
}

impl Device for Payload {
    fn qemu_args(&self) -> Vec<OsString> {
        vec![
            "-chardev".into(),
            format!("socket,id={PAYLOAD_TAG},fd={}", self.fd).into(),
            "-device".into(),
            format!("vhost-user-fs-pci,chardev={PAYLOAD_TAG},tag={PAYLOAD_TAG}").into(),
        ]
    }
}

/// Tells the guest which node it is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The node's name.
    pub node: String,
    /// The cluster's name, for whoever looks at the process list.
    pub cluster: String,
}

impl Device for Identity {
    fn qemu_args(&self) -> Vec<OsString> {
        vec![
            "-name".into(),
            format!("rapidswap-{}-{}", self.cluster, self.node).into(),
        ]
    }

    fn kernel_args(&self) -> Vec<String> {
        vec![format!("rapidswap.node={}", self.node)]
    }
}

/// Splits constant text at blanks.
fn words<T: for<'a> From<&'a str>>(text: &'static str) -> Vec<T> {
    text.split(' ').map(T::from).collect()
}

/// QEMU separates properties by commas; a comma within a value is doubled.
fn escape(value: &std::ffi::OsStr) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut escaped = Vec::with_capacity(value.len());
    for byte in value.as_bytes() {
        escaped.push(*byte);
        if *byte == b',' {
            escaped.push(b',');
        }
    }
    OsString::from_vec(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_a_path_stays_part_of_the_path() {
        let disk = RootDisk {
            image: "/a,b/root.ext4".into(),
        };
        let args = disk.qemu_args();
        assert!(
            args[1]
                .to_str()
                .expect("text")
                .ends_with("file=/a,,b/root.ext4")
        );
    }
}
