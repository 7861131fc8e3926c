//! A network block device over TCP: a RAM disk of the server, on the same link.

use std::time::Duration;

use anyhow::Result;
use rapidswap_tests::kernel_module::load;
use rapidswap_tests::ram_disk::{self, RAM_DISK};
use rapidswap_tests::scene::{Scene, scaled};
use rapidswap_tests::swap_area;
use rapidswap_tests::wait::wait_until;

use super::{Backend, swap_on};

/// The port that is assigned to it.
const PORT: u16 = 10809;

const DEVICE: &str = "/dev/nbd0";
const CONFIGURATION: &str = "/run/nbd-server.conf";
const PID: &str = "/run/nbd-server.pid";

/// How long the server may take to end once its client is gone.
const END: Duration = Duration::from_secs(20);

/// `nbd-server` and `nbd-client`.
pub struct Nbd;

impl Backend for Nbd {
    fn title(&self) -> &'static str {
        "NBD"
    }

    fn set_up(&self, scene: &Scene, mib: u64) -> Result<()> {
        ram_disk::make(&scene.server, mib)?;
        let (address, port) = (scene.listen.ip().to_string(), PORT.to_string());
        let configuration = format!(
            "[generic]\nlistenaddr = {address}\nport = {port}\n[swap]\nexportname = {RAM_DISK}\n"
        );
        scene.server.write(CONFIGURATION, &configuration)?;
        // It listens when it has gone to the background.
        scene
            .server
            .ok(&["nbd-server", "-C", CONFIGURATION, "-p", PID])?;
        load(&scene.client, "nbd", "nbds_max=1")?;
        let connect = ["nbd-client", &address, &port, DEVICE];
        let options = ["-N", "swap", "-b", "4096", "-swap"];
        scene.client.ok(&[&connect[..], &options].concat())?;
        swap_on(&scene.client, DEVICE)
    }

    fn take_down(&self, scene: &Scene) -> Result<()> {
        swap_area::off(&scene.client, DEVICE)?;
        scene.client.ok(&["nbd-client", "-d", DEVICE])?;
        scene.server.sh(&format!("kill $(cat {PID})"))?;
        // Each connection has a process of its own, which holds the disk.
        wait_until("nbd-server to end", scaled(END)?, || {
            let running = scene.server.run(&["pidof", "nbd-server"])?;
            Ok((!running.status.success()).then_some(()))
        })?;
        ram_disk::remove(&scene.server)
    }
}
