//! This project's own.

use anyhow::Result;
use rapidswap_tests::scene::Scene;
use rapidswap_vm::swap::{self, SwapOptions};

use super::Backend;

/// The module on the client, the memory server on the server.
pub struct Rapidswap;

impl Backend for Rapidswap {
    fn title(&self) -> &'static str {
        "Rapidswap"
    }

    fn set_up(&self, scene: &Scene, mib: u64) -> Result<()> {
        let options = SwapOptions {
            server_mib: mib,
            ..SwapOptions::default()
        };
        Ok(swap::on(&scene.cluster, &options)?)
    }

    fn take_down(&self, scene: &Scene) -> Result<()> {
        Ok(swap::off(&scene.cluster)?)
    }
}
