//! A disk in a node's memory (brd).

use anyhow::Result;

use crate::guest::Guest;
use crate::kernel_module::load;
use crate::remote_module::rmmod;

/// Its path in the node.
pub const RAM_DISK: &str = "/dev/ram0";

/// Makes the disk, `mib` MiB large, with nothing on it.
pub fn make(guest: &Guest, mib: u64) -> Result<()> {
    load(guest, "brd", &format!("rd_nr=1 rd_size={}", mib << 10))
}

/// Removes it with all that is on it. Nobody may use it.
pub fn remove(guest: &Guest) -> Result<()> {
    rmmod(guest, "brd")
}
