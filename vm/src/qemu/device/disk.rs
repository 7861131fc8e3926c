//! Disks.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

use super::{Device, escape};

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
