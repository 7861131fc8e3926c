//! File systems of a node.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::unistd::{chdir, chroot};

/// One file system and where it belongs.
pub(crate) struct Mount {
    pub(crate) source: &'static str,
    pub(crate) target: &'static str,
    kind: &'static str,
    flags: MsFlags,
    options: &'static str,
}

const fn plain(kind: &'static str, target: &'static str, flags: MsFlags) -> Mount {
    with(kind, kind, target, flags, "")
}

const fn with(
    kind: &'static str,
    source: &'static str,
    target: &'static str,
    flags: MsFlags,
    options: &'static str,
) -> Mount {
    Mount {
        source,
        target,
        kind,
        flags,
        options,
    }
}

const SAFE: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);
const DATA: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

/// What the initramfs needs; moved to the root afterwards.
pub(crate) const EARLY: [Mount; 3] = [
    plain("devtmpfs", "/dev", MsFlags::MS_NOSUID),
    plain("proc", "/proc", SAFE),
    plain("sysfs", "/sys", SAFE),
];

/// The disk image, writes to which QEMU throws away. Nothing is written until
/// [`make_root_writable`], so that a machine whose memory is restored over a
/// fresh disk finds on it what it knows of it.
pub(crate) const ROOT: Mount = with(
    "ext4",
    "/dev/vda",
    "/root",
    MsFlags::MS_NOATIME.union(MsFlags::MS_RDONLY),
    "",
);

/// The programs and modules that the host has built.
pub(crate) const PAYLOAD: Mount = with("virtiofs", "payload", "/rapidswap", DATA, "");

/// Where the programs are in it, and where their copies are.
const PROGRAMS: &str = "/rapidswap/bin";
const COPIES: &str = "/run/rapidswap-bin";

/// What every node has besides.
pub(crate) const LATE: [Mount; 9] = [
    with(
        "devpts",
        "devpts",
        "/dev/pts",
        MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC),
        "gid=5,mode=620,ptmxmode=666",
    ),
    with("tmpfs", "tmpfs", "/dev/shm", DATA, "mode=1777"),
    with("tmpfs", "tmpfs", "/run", DATA, "mode=755"),
    with("tmpfs", "tmpfs", "/tmp", DATA, "mode=1777"),
    plain("debugfs", "/sys/kernel/debug", SAFE),
    plain("tracefs", "/sys/kernel/tracing", SAFE),
    with("tmpfs", "cgroup", "/sys/fs/cgroup", SAFE, "mode=755"),
    with("cgroup", "memory", "/sys/fs/cgroup/memory", SAFE, "memory"),
    with("cgroup", "cpuset", "/sys/fs/cgroup/cpuset", SAFE, "cpuset"),
];

impl Mount {
    pub(crate) fn mount(&self) -> io::Result<()> {
        fs::create_dir_all(self.target)?;
        let options = Some(self.options).filter(|options| !options.is_empty());
        mount(
            Some(self.source),
            self.target,
            Some(self.kind),
            self.flags,
            options,
        )?;
        Ok(())
    }
}

/// Makes the file system on `/root` the root, with the early ones in it.
pub(crate) fn switch_root() -> io::Result<()> {
    let none = None::<&str>;
    for early in &EARLY {
        let target = format!("/root{}", early.target);
        fs::create_dir_all(&target)?;
        mount(
            Some(early.target),
            target.as_str(),
            none,
            MsFlags::MS_MOVE,
            none,
        )?;
    }
    chdir("/root")?;
    mount(Some("."), "/", none, MsFlags::MS_MOVE, none)?;
    chroot(".")?;
    chdir("/")?;
    Ok(())
}

/// Lets the root file system be written to from now on.
pub(crate) fn make_root_writable() -> io::Result<()> {
    let none = None::<&str>;
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_NOATIME;
    mount(none, "/", none, flags, none)?;
    Ok(())
}

/// Puts copies of the host's programs in their place. The share's daemon writes
/// to the node's memory from outside QEMU, whose translator then does not see
/// that a page of code has changed and goes on to execute what it translated
/// before, if the page was ever used for code. What is copied here is written
/// by the node's own processor.
pub(crate) fn copy_programs() -> io::Result<()> {
    fs::create_dir_all(COPIES)?;
    for entry in fs::read_dir(PROGRAMS)? {
        let entry = entry?;
        fs::copy(entry.path(), Path::new(COPIES).join(entry.file_name()))?;
    }
    let none = None::<&str>;
    mount(Some(COPIES), PROGRAMS, none, MsFlags::MS_BIND, none)?;
    Ok(())
}

/// The names in `/dev` that shells count on and the kernel does not make.
pub(crate) fn link_standard_files() -> io::Result<()> {
    for (name, file) in [
        ("fd", ""),
        ("stdin", "/0"),
        ("stdout", "/1"),
        ("stderr", "/2"),
    ] {
        symlink(format!("/proc/self/fd{file}"), format!("/dev/{name}"))?;
    }
    Ok(())
}
