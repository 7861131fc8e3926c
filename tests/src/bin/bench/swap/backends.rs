//! What a client can swap to. Each is a type that sets itself up from nothing
//! and takes itself down again, and everything else is the same for all.

mod disk;
mod nbd;
mod nvme;
mod remote;
mod zram;

use anyhow::{Context, Result};
use clap::ValueEnum;
use rapidswap_tests::guest::Guest;
use rapidswap_tests::scene::Scene;
use serde::Serialize;

/// One way to swap.
pub trait Backend {
    /// What it is called in reports.
    fn title(&self) -> &'static str;

    /// Turns swap of at least `mib` MiB on at the client, where there is none.
    fn set_up(&self, scene: &Scene, mib: u64) -> Result<()>;

    /// Turns it off, and leaves the nodes as they were.
    fn take_down(&self, scene: &Scene) -> Result<()>;
}

/// All of them, in the order of reports. To add one, add its name and its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Row {
    /// This project's module, to the memory server.
    Rapidswap,
    /// The same, with generations of pages (MGLRU) on the client.
    Mglru,
    /// The same, storing a page at a time and waiting for each, as Fastswap did.
    OneByOne,
    /// NVMe over RDMA, to a RAM disk of the server.
    Nvme,
    /// NBD over TCP, to a RAM disk of the server.
    Nbd,
    /// Compressed in the client's own memory.
    Zram,
    /// The client's disk.
    Disk,
}

impl Row {
    /// The type behind the name.
    pub fn backend(self) -> &'static dyn Backend {
        match self {
            Row::Rapidswap => &remote::RAPIDSWAP,
            Row::Mglru => &remote::MGLRU_ON,
            Row::OneByOne => &remote::ONE_BY_ONE,
            Row::Nvme => &nvme::NvmeRdma,
            Row::Nbd => &nbd::Nbd,
            Row::Zram => &zram::Zram,
            Row::Disk => &disk::Disk,
        }
    }
}

/// Swaps to a block device, with no backend attached to it.
fn swap_on(client: &Guest, device: &str) -> Result<()> {
    client.ok(&["mkswap", device])?;
    rapidswap_tests::swap_area::on(client, device, false)
        .with_context(|| format!("swap to {device}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_told_from_the_others() {
        let mut titles: Vec<_> = Row::value_variants()
            .iter()
            .map(|row| row.backend().title())
            .collect();
        titles.sort_unstable();
        titles.dedup();
        assert_eq!(titles.len(), Row::value_variants().len());
    }
}
