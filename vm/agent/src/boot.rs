//! What PID 1 does before it serves the host.
//!
//! The kernel's command line says what differs between nodes:
//! `rapidswap.node=NAME` is the host name, each `rapidswap.sysctl=KEY=VALUE`
//! is one setting.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::sethostname;

use crate::mounts::{self, EARLY, LATE, PAYLOAD, ROOT};
use crate::{sys, uevents};

/// The name of the virtio-serial port, as QEMU was told.
const PORT: &str = "rapidswap.agent";
/// Far more than any device takes.
const LIMIT: Duration = Duration::from_secs(30);

/// What the boot leaves.
pub(crate) struct Booted {
    /// The stream to the host.
    pub(crate) port: File,
    /// What failed that a node can be without.
    pub(crate) notes: String,
}

/// Brings the node up. An error is fatal.
pub(crate) fn boot() -> Result<Booted, String> {
    stay_in_memory()?;
    for early in &EARLY {
        early
            .mount()
            .map_err(|e| format!("cannot mount {}: {e}", early.target))?;
    }
    await_device(ROOT.source, || {
        Path::new(ROOT.source).exists().then_some(())
    })?;
    ROOT.mount()
        .map_err(|e| format!("cannot mount the root file system {}: {e}", ROOT.source))?;
    mounts::switch_root().map_err(|e| format!("cannot change to the root file system: {e}"))?;

    let mut notes = Notes::default();
    notes.add("link /dev/fd", mounts::link_standard_files());
    for mount in LATE.iter().chain([&PAYLOAD]) {
        notes.add(format_args!("mount {}", mount.target), mount.mount());
    }
    notes.add("copy the host's programs", mounts::copy_programs());
    // A new group otherwise has no CPUs and no memory, and takes no tasks.
    let inherit = "/sys/fs/cgroup/cpuset/cgroup.clone_children";
    notes.add(inherit, fs::write(inherit, "1"));
    notes.add("bring lo up", loopback_up());
    match fs::read_to_string("/proc/cmdline") {
        Ok(arguments) => configure(&arguments, &mut notes),
        Err(error) => notes.add("read /proc/cmdline", Err(error)),
    }
    let path = await_device(PORT, find_port)?;
    let port = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|e| format!("cannot open {}: {e}", path.display()))?;
    Ok(Booted {
        port,
        notes: notes.text,
    })
}

/// The agent has to work, and to be spared, when memory is short.
fn stay_in_memory() -> Result<(), String> {
    sys::use_one_arena();
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE)
        .map_err(|e| format!("cannot lock the agent in memory: {e}"))
}

fn await_device<T>(what: &str, look: impl FnMut() -> Option<T>) -> Result<T, String> {
    let found = uevents::wait_for(LIMIT, look).map_err(|e| format!("cannot await {what}: {e}"))?;
    found.ok_or_else(|| format!("no {what} after {LIMIT:?}; check the QEMU command line"))
}

fn find_port() -> Option<PathBuf> {
    let ports = fs::read_dir("/sys/class/virtio-ports").ok()?;
    ports.flatten().find_map(|port| {
        let name = fs::read_to_string(port.path().join("name")).ok()?;
        (name.trim_end() == PORT).then(|| Path::new("/dev").join(port.file_name()))
    })
}

fn loopback_up() -> io::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    sys::loopback_up(socket.as_fd())
}

fn configure(arguments: &str, notes: &mut Notes) {
    for argument in arguments.split_ascii_whitespace() {
        if let Some(name) = argument.strip_prefix("rapidswap.node=") {
            let set = sethostname(name).map_err(io::Error::from);
            notes.add(format_args!("set the host name {name}"), set);
        }
        if let Some((key, value)) = setting(argument) {
            let file = format!("/proc/sys/{}", key.replace('.', "/"));
            notes.add(format_args!("set {key}"), fs::write(file, value));
        }
    }
}

fn setting(argument: &str) -> Option<(&str, &str)> {
    argument.strip_prefix("rapidswap.sysctl=")?.split_once('=')
}

#[derive(Default)]
struct Notes {
    text: String,
}

impl Notes {
    fn add(&mut self, what: impl Display, result: io::Result<()>) {
        if let Err(error) = result {
            self.text += &format!("cannot {what}: {error}\n");
        }
    }
}
