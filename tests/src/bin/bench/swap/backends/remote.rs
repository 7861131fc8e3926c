//! This project's own.

use anyhow::Result;
use rapidswap_tests::scene::Scene;
use rapidswap_vm::swap::{self, SwapOptions};

use super::Backend;

/// The module on the client, the memory server on the server.
pub struct Remote {
    title: &'static str,
    parameters: &'static [&'static str],
}

/// As it is.
pub const RAPIDSWAP: Remote = Remote {
    title: "Rapidswap",
    parameters: &[],
};

/// The same module, but each page is posted alone and is over there before the
/// next is posted, as stores were in Fastswap (Amaro et al., EuroSys 2020).
pub const ONE_BY_ONE: Remote = Remote {
    title: "one by one",
    parameters: &["store_depth=1"],
};

impl Backend for Remote {
    fn title(&self) -> &'static str {
        self.title
    }

    fn set_up(&self, scene: &Scene, mib: u64) -> Result<()> {
        let parameters = self.parameters.iter().map(|&one| one.to_owned());
        let options = SwapOptions {
            server_mib: mib,
            parameters: parameters.collect(),
            ..SwapOptions::default()
        };
        Ok(swap::on(&scene.cluster, &options)?)
    }

    fn take_down(&self, scene: &Scene) -> Result<()> {
        Ok(swap::off(&scene.cluster)?)
    }
}
