//! The client's disk.

use anyhow::Result;
use rapidswap_tests::scene::Scene;
use rapidswap_tests::swap_area;
use rapidswap_vm::swap;

use super::{Backend, swap_on};

/// A virtio disk on a file of the host, or of a host what it says it is.
pub struct Disk;

impl Backend for Disk {
    fn title(&self) -> &'static str {
        "disk"
    }

    fn set_up(&self, scene: &Scene, _mib: u64) -> Result<()> {
        swap_on(&scene.client, &swap::area(&scene.client.node)?)
    }

    fn take_down(&self, scene: &Scene) -> Result<()> {
        swap_area::off(&scene.client, &swap::area(&scene.client.node)?)
    }
}
