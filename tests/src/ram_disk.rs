//! A disk in a node's memory (brd).

use std::time::Duration;

use anyhow::Result;

use crate::guest::Guest;
use crate::kernel_module::load;
use crate::remote_module::rmmod;
use crate::scene::scaled;
use crate::wait::wait_until;

/// Its path in the node.
pub const RAM_DISK: &str = "/dev/ram0";

/// How long who used it may take to let go of it.
const LET_GO: Duration = Duration::from_secs(20);

/// Makes the disk, `mib` MiB large, with nothing on it.
pub fn make(guest: &Guest, mib: u64) -> Result<()> {
    load(guest, "brd", &format!("rd_nr=1 rd_size={}", mib << 10))
}

/// Removes it with all that is on it, once nobody uses it any more: a process
/// that ends is no longer found by its name before it has closed its files.
pub fn remove(guest: &Guest) -> Result<()> {
    wait_until("brd to be free", scaled(LET_GO)?, || {
        let users = guest.read("/sys/module/brd/refcnt")?;
        Ok((users.trim() == "0").then_some(()))
    })?;
    rmmod(guest, "brd")
}
