//! Compressed memory of the client itself: nothing is remote, and what does not
//! compress saves nothing.

use anyhow::Result;
use rapidswap_tests::kernel_module::load;
use rapidswap_tests::scene::Scene;
use rapidswap_tests::swap_area;

use super::{Backend, swap_on};

const DEVICE: &str = "/dev/zram0";
const CONTROL: &str = "/sys/block/zram0";

/// `zram`, with the kernel's default compression.
pub struct Zram;

impl Backend for Zram {
    fn title(&self) -> &'static str {
        "zram"
    }

    fn set_up(&self, scene: &Scene, mib: u64) -> Result<()> {
        load(&scene.client, "zram", "num_devices=1")?;
        let size = format!("{CONTROL}/disksize");
        scene.client.write(&size, &format!("{mib}M"))?;
        swap_on(&scene.client, DEVICE)
    }

    fn take_down(&self, scene: &Scene) -> Result<()> {
        swap_area::off(&scene.client, DEVICE)?;
        scene.client.write(&format!("{CONTROL}/reset"), "1")
    }
}
