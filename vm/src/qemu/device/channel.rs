//! Devices that bytes come and go by: consoles, control channels, the link,
//! the share.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

use super::{Device, escape, words};
use crate::console::CHARDEV;

/// Name of the virtio-serial port that carries the agent protocol.
pub const AGENT_PORT: &str = "rapidswap.agent";

/// Tag of the virtiofs share with the host-built programs and modules.
pub const PAYLOAD_TAG: &str = "payload";

/// The kernel's console, kept in a file whether somebody is at it or not.
#[derive(Clone, Debug)]
pub struct Console {
    /// The file it goes to.
    pub log: PathBuf,
    /// The socket by which somebody can be at it; QEMU makes it.
    pub socket: PathBuf,
}

impl Device for Console {
    fn qemu_args(&self) -> Vec<OsString> {
        let mut chardev = OsString::from(format!("socket,id={CHARDEV},path="));
        chardev.push(escape(self.socket.as_os_str()));
        chardev.push(",server=on,wait=off,logfile=");
        chardev.push(escape(self.log.as_os_str()));
        vec![
            "-chardev".into(),
            chardev,
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
        // Notices too, so that a slow guest is told from one that never began.
        words("console=ttyS0,115200 loglevel=6")
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
            // QEMU polls two descriptors for each port that there could be, 31 if not told,
            // and for the one that only a console may have.
            "-device".into(),
            "virtio-serial-pci,max_ports=2".into(),
            "-chardev".into(),
            format!("socket,id=agent,fd={}", self.fd).into(),
            "-device".into(),
            format!("virtserialport,chardev=agent,name={AGENT_PORT}").into(),
        ]
    }
}

/// What QEMU calls the link.
pub const LINK: &str = "link";

/// The first bytes of the nodes' hardware addresses; the last is the station.
pub const MAC: [u8; 5] = [0x52, 0x54, 0x00, 0x52, 0x53];

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
    /// Its MTU in bytes, if not that of any Ethernet.
    pub mtu: Option<u16>,
}

impl Device for Link {
    fn qemu_args(&self) -> Vec<OsString> {
        let mut netdev = OsString::from(format!("dgram,id={LINK},local.type=unix,local.path="));
        netdev.push(escape(self.local.as_os_str()));
        netdev.push(",remote.type=unix,remote.path=");
        netdev.push(escape(self.remote.as_os_str()));
        // Without a boot ROM: the firmware would initialise it.
        let mac = MAC.map(|byte| format!("{byte:02x}")).join(":");
        let mtu = self
            .mtu
            .map_or_else(String::new, |mtu| format!("host_mtu={mtu},"));
        let device = format!(
            "virtio-net-pci,netdev={LINK},mac={mac}:{:02x},{mtu}romfile=",
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
