//! The swap area on the client.

use anyhow::{Context, Result};
use rapidswap_vm::swap;

use crate::guest::Guest;

const CONTROL: &str = "/sys/kernel/mm/remote_swap";
const MAPPED: &str = "rapidswap-test";

/// What is under the area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// The disk.
    Disk,
    /// The disk's first page, which holds the area's header, and after it
    /// nothing but errors: no page can go to or come from it.
    FailingDisk,
}

/// Makes an area on `backing` and returns its path.
pub fn make(guest: &Guest, backing: Backing) -> Result<String> {
    // Soft-RoCE takes its packets' memory without waiting for reclaim.
    guest.write("/proc/sys/vm/min_free_kbytes", "32768")?;
    let disk = swap::area(&guest.node)?;
    guest.ok(&["mkswap", &disk])?;
    if backing == Backing::Disk {
        return Ok(disk);
    }
    // Without udev, dmsetup itself has to make the node.
    guest.sh(&format!(
        "export DM_DISABLE_UDEV=1\n\
         sectors=$(blockdev --getsz {disk})\n\
         printf '0 8 linear {disk} 0\\n8 %d error\\n' $((sectors - 8)) |\n\
         dmsetup create {MAPPED}"
    ))?;
    Ok(format!("/dev/mapper/{MAPPED}"))
}

/// Turns swap on. An attached area uses the backend that is registered.
pub fn on(guest: &Guest, path: &str, attached: bool) -> Result<()> {
    let area = if attached { path } else { "" };
    guest.write(&format!("{CONTROL}/area"), &format!("{area}\n"))?;
    guest.ok(&["swapon", path]).map(drop)
}

/// Turns swap off.
pub fn off(guest: &Guest, path: &str) -> Result<()> {
    guest.ok(&["swapoff", path]).map(drop)
}

/// Number of attached areas.
pub fn attached(guest: &Guest) -> Result<u64> {
    Ok(guest.read(&format!("{CONTROL}/attached"))?.trim().parse()?)
}

/// Pages in swap, of all areas.
pub fn used(guest: &Guest) -> Result<u64> {
    let meminfo = guest.read("/proc/meminfo")?;
    let kib = |name: &str| -> Result<u64> {
        let mut lines = meminfo.lines().map(str::split_ascii_whitespace);
        let line = lines.find_map(|mut words| (words.next() == Some(name)).then_some(words));
        let size = line.and_then(|mut words| words.next());
        Ok(size.with_context(|| format!("no {name}"))?.parse()?)
    };
    Ok((kib("SwapTotal:")? - kib("SwapFree:")?) / 4)
}

/// Name of the registered backend, or `none`.
pub fn backend(guest: &Guest) -> Result<String> {
    Ok(guest.read(&format!("{CONTROL}/backend"))?.trim().to_owned())
}

/// Turns all swap off, unloads both backends and removes the mapped disk, so
/// that the next arrangement begins from nothing.
pub fn clear(guest: &Guest) -> Result<()> {
    guest.sh(&format!(
        "swapoff -a\n\
         printf '\\n' > {CONTROL}/area\n\
         for module in remoteswap remote_swap_ram; do\n\
         \tif [ -d /sys/module/$module ]; then rmmod $module; fi\n\
         done\n\
         if [ -e /dev/mapper/{MAPPED} ]; then DM_DISABLE_UDEV=1 dmsetup remove {MAPPED}; fi"
    ))?;
    Ok(())
}
