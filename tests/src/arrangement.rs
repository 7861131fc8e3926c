//! What swaps where at the beginning of a test.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::guest::Guest;
use crate::memory_server::MemoryServer;
use crate::remote_module::{connect_with, insmod};
use crate::scene::{Scene, scaled};
use crate::swap_area::{self, Backing};
use crate::vmstat::{Moved, Vmstat};
use crate::wait::wait_until;

/// Swap that is on, until it is dropped: an area on the client, perhaps
/// attached to a backend, perhaps with a server behind that.
pub struct Arrangement<'a> {
    /// The node whose memory is paged out.
    pub client: &'a Guest,
    /// The memory server, where there is one.
    pub server: Option<MemoryServer<'a>>,
    /// Path of the area.
    pub area: String,
    before: Vmstat,
}

impl<'a> Arrangement<'a> {
    /// Swap to a server of `server_mib` MiB, over an area on `backing`.
    pub fn remote(scene: &'a Scene, server_mib: u64, backing: Backing) -> Result<Arrangement<'a>> {
        Self::remote_with(scene, server_mib, backing, &[])
    }

    /// Likewise, with parameters of the module beyond the server's address.
    pub fn remote_with(
        scene: &'a Scene,
        server_mib: u64,
        backing: Backing,
        parameters: &[&str],
    ) -> Result<Arrangement<'a>> {
        let client = &scene.client;
        swap_area::clear(client).context("clear the client's swap")?;
        let server = MemoryServer::start(scene, server_mib)?;
        connect_with(scene, parameters)?;
        Self::on(client, Some(server), backing, true)
    }

    /// Swap to the disk, with no backend loaded.
    pub fn disk(scene: &'a Scene) -> Result<Arrangement<'a>> {
        swap_area::clear(&scene.client).context("clear the client's swap")?;
        Self::on(&scene.client, None, Backing::Disk, false)
    }

    /// Swap to the RAM backend with these parameters.
    pub fn ram(scene: &'a Scene, parameters: &[&str]) -> Result<Arrangement<'a>> {
        swap_area::clear(&scene.client).context("clear the client's swap")?;
        insmod(&scene.client, "remote_swap_ram", parameters)?;
        Self::on(&scene.client, None, Backing::Disk, true)
    }

    /// Swap on an area attached to whatever backend is loaded.
    pub fn attached(client: &'a Guest) -> Result<Arrangement<'a>> {
        Self::on(client, None, Backing::Disk, true)
    }

    fn on(
        client: &'a Guest,
        server: Option<MemoryServer<'a>>,
        backing: Backing,
        attached: bool,
    ) -> Result<Arrangement<'a>> {
        let area = swap_area::make(client, backing)?;
        swap_area::on(client, &area, attached)?;
        Ok(Arrangement {
            before: client.vmstat()?,
            client,
            server,
            area,
        })
    }

    /// Pages moved since swap was turned on.
    pub fn moved(&self) -> Result<Moved> {
        let now = self.client.vmstat()?;
        now.since(&self.before)
            .context("the kernel has no counters of remote swap: is it the patched one?")
    }

    /// Waits until no page is on its way out, so that counters which are read
    /// one after the other are of the same moment.
    pub fn settled(&self) -> Result<()> {
        let time = scaled(Duration::from_secs(60))?;
        wait_until("pages to be out", time, || {
            Ok((self.leaving()? == 0).then_some(()))
        })
    }

    /// Pages that are on their way out.
    pub fn leaving(&self) -> Result<u64> {
        let pages = self.client.vmstat()?.get("nr_writeback");
        pages.context("no nr_writeback")
    }

    /// Takes it all down in order. A test that ends early leaves that to the
    /// next one's beginning.
    pub fn end(self) -> Result<()> {
        swap_area::clear(self.client)?;
        match self.server {
            Some(server) => server.stop(),
            None => Ok(()),
        }
    }
}
