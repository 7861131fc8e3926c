//! This project's own.

use anyhow::Result;
use rapidswap_tests::guest::Guest;
use rapidswap_tests::scene::Scene;
use rapidswap_tests::setting::{MGLRU, REMOTE_SWAP};
use rapidswap_vm::swap::{self, SwapOptions};

use super::Backend;

/// The module on the client, the memory server on the server.
pub struct Remote {
    title: &'static str,
    parameters: &'static [&'static str],
    tuned: &'static [Tuned],
}

/// A file below /sys, what is written to it for a row, and what else is in it.
struct Tuned {
    directory: &'static str,
    name: &'static str,
    value: &'static str,
    usual: &'static str,
}

const fn knob(name: &'static str, value: &'static str, usual: &'static str) -> Tuned {
    Tuned {
        directory: REMOTE_SWAP,
        name,
        value,
        usual,
    }
}

/// As it is.
pub const RAPIDSWAP: Remote = Remote {
    title: "Rapidswap",
    parameters: &[],
    tuned: &[],
};

/// The same with generations of pages in the place of two lists.
pub const MGLRU_ON: Remote = Remote {
    title: "with MGLRU",
    parameters: &[],
    tuned: &[Tuned {
        directory: MGLRU,
        name: "enabled",
        value: "y",
        usual: "n",
    }],
};

/// The same module, but each page is posted alone and is over there before the
/// next is posted, as stores were in Fastswap (Amaro et al., EuroSys 2020).
pub const ONE_BY_ONE: Remote = Remote {
    title: "one by one",
    parameters: &["store_depth=1"],
    tuned: &[knob("write_ahead", "0", "64"), knob("sthd_cnt", "0", "2")],
};

impl Remote {
    fn tune(&self, client: &Guest, value: impl Fn(&Tuned) -> &str) -> Result<()> {
        self.tuned.iter().try_for_each(|tuned| {
            let path = format!("{}/{}", tuned.directory, tuned.name);
            client.write(&path, value(tuned))
        })
    }
}

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
        self.tune(&scene.client, |tuned| tuned.value)?;
        Ok(swap::on(&scene.cluster, &options)?)
    }

    fn take_down(&self, scene: &Scene) -> Result<()> {
        swap::off(&scene.cluster)?;
        self.tune(&scene.client, |tuned| tuned.usual)
    }
}
