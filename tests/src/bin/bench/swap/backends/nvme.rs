//! NVMe over RDMA with what the kernel has: its target serves a RAM disk, its
//! host connects to it on the same link. Both are configured by files, so that
//! no other program is needed.

use std::time::Duration;

use anyhow::Result;
use rapidswap_tests::kernel_module::load;
use rapidswap_tests::ram_disk::{self, RAM_DISK};
use rapidswap_tests::scene::{Scene, scaled};
use rapidswap_tests::swap_area;
use rapidswap_tests::wait::wait_until;

use super::{Backend, swap_on};

/// The port that is assigned to it.
const PORT: u16 = 4420;

/// Names the subsystem that the target offers.
const NQN: &str = "nqn.2026-11.rapidswap:bench";

/// The target's configuration.
const TARGET: &str = "/sys/kernel/config/nvmet";

/// The only namespace of the only controller.
const DEVICE: &str = "/dev/nvme0n1";

/// The kernel looks for namespaces after it has connected.
const SCAN: Duration = Duration::from_secs(30);

/// `nvmet` and `nvme-rdma`.
pub struct NvmeRdma;

impl Backend for NvmeRdma {
    fn title(&self) -> &'static str {
        "NVMe/RDMA"
    }

    fn set_up(&self, scene: &Scene, mib: u64) -> Result<()> {
        ram_disk::make(&scene.server, mib)?;
        let address = scene.listen.ip();
        load(&scene.server, "nvmet-rdma", "")?;
        scene.server.sh(&format!(
            "mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config\n\
             cd {TARGET}/subsystems && mkdir {NQN} && cd {NQN}\n\
             echo 1 > attr_allow_any_host\n\
             mkdir namespaces/1\n\
             printf %s {RAM_DISK} > namespaces/1/device_path\n\
             echo 1 > namespaces/1/enable\n\
             mkdir {TARGET}/ports/1 && cd {TARGET}/ports/1\n\
             echo rdma > addr_trtype\n\
             echo ipv4 > addr_adrfam\n\
             echo {address} > addr_traddr\n\
             echo {PORT} > addr_trsvcid\n\
             ln -s {TARGET}/subsystems/{NQN} subsystems/{NQN}"
        ))?;
        load(&scene.client, "nvme-rdma", "")?;
        let connect = format!("transport=rdma,traddr={address},trsvcid={PORT},nqn={NQN}");
        scene.client.write("/dev/nvme-fabrics", &connect)?;
        wait_until(DEVICE, scaled(SCAN)?, || {
            let there = scene.client.run(&["test", "-b", DEVICE])?;
            Ok(there.status.success().then_some(()))
        })?;
        swap_on(&scene.client, DEVICE)
    }

    fn take_down(&self, scene: &Scene) -> Result<()> {
        swap_area::off(&scene.client, DEVICE)?;
        let delete = "/sys/class/nvme/nvme0/delete_controller";
        scene.client.write(delete, "1")?;
        scene.server.sh(&format!(
            "cd {TARGET}\n\
             rm ports/1/subsystems/{NQN}\n\
             rmdir ports/1\n\
             echo 0 > subsystems/{NQN}/namespaces/1/enable\n\
             rmdir subsystems/{NQN}/namespaces/1 subsystems/{NQN}"
        ))?;
        ram_disk::remove(&scene.server)
    }
}
