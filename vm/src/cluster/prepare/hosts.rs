//! The same where the nodes are hosts: what runs there has to exist, and it is
//! for the kernel that they have to run.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use object::Object;
use rapidswap_progress::Reporter;

use super::boot_deadline;
use crate::cluster::kernels::{self, NodeKernel, NodeModule};
use crate::cluster::options::UpOptions;
use crate::cluster::profile::{Profile, ProfileNode};
use crate::cluster::programs;
use crate::cluster::rundir;
use crate::cluster::status::Start;
use crate::error::{Error, Result};
use crate::qemu::Qemu;
use crate::qemu::device::Accel;
use crate::supervisor::{HostPlan, NodePlan, Origin, Plan};

/// The in-tree modules that a node needs; a host has the others installed.
const IN_TREE: [&str; 2] = ["remote_swap_ram.ko", "lkdtm.ko"];

pub(super) fn prepare(
    options: &UpOptions,
    wanted: NodeKernel,
    profile: Profile,
    reporter: &Reporter,
) -> Result<Plan> {
    if options.servers > 1 {
        let text = "--servers is of virtual machines: a profile of hosts has one server";
        return Err(Error::BadOption(text.into()));
    }
    let agent = programs::agent()?;
    let programs = programs::guest()?;
    let started = Instant::now();
    let mut kernel = kernels::ensure(&wanted, options, reporter)?;
    let loads = &kernel.loads;
    kernel.modules.retain(|path| needed(path, loads));
    let build_s = started.elapsed().as_secs_f64();
    let build_id = build_id(&kernel.image)?;
    let node = |name: &str, end: &ProfileNode, swaps: bool| {
        let ssh = end.ssh.clone();
        NodePlan {
            name: name.to_owned(),
            address: end.address.ip.to_string(),
            memory_mib: 0,
            swap_disk: swaps,
            host: ssh.map(|ssh| HostPlan {
                ssh,
                netdev: profile.netdev(name).to_owned(),
                disk: end.disk.clone(),
                build_id: build_id.clone(),
            }),
        }
    };
    Ok(Plan {
        name: options.name.clone(),
        base: rundir::base(),
        accel: Accel::None,
        accel_reason: "the nodes are hosts".into(),
        tsc_khz: None,
        qemu: Qemu::none(),
        origin: Origin::Boot,
        start: Start {
            restored: false,
            reason: String::new(),
        },
        vmlinux: kernel.image,
        boot_deadline_s: boot_deadline(Accel::None, &wanted).as_secs(),
        kernel: wanted,
        kernel_release: kernel.release,
        agent,
        image: PathBuf::new(),
        programs,
        modules: kernel.modules,
        loads: kernel.loads,
        link: options.link,
        scratch: PathBuf::new(),
        cpus: options.cpus,
        disk_mib: options.disk_mib,
        server_mib: options.server_mib,
        build_s,
        swap_to: options.swap_to.clone(),
        nodes: vec![
            node("client", &profile.node.client, true),
            node("server", &profile.node.server, false),
        ],
        profile,
    })
}

fn needed(module: &Path, loads: &[NodeModule]) -> bool {
    let name = module.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| {
        name == "remoteswap.ko"
            || IN_TREE.contains(&name)
            || loads.iter().any(|wanted| wanted.module == name)
    })
}

/// What tells a build of the kernel from all others: kernels of one release
/// take each other's modules, and need not survive it.
fn build_id(vmlinux: &Path) -> Result<String> {
    let problem =
        |why: &dyn std::fmt::Display| Error::Prepare(format!("{}: {why}", vmlinux.display()));
    let bytes = fs::read(vmlinux).map_err(|error| problem(&error))?;
    let file = object::File::parse(&*bytes).map_err(|error| problem(&error))?;
    let id = file.build_id().map_err(|error| problem(&error))?;
    let id = id.ok_or_else(|| problem(&"it has no build ID"))?;
    Ok(id.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_has_a_build_id() {
        let id = build_id(Path::new("/proc/self/exe")).expect("this one has");
        assert!(
            id.len() >= 16 && id.bytes().all(|b| b.is_ascii_hexdigit()),
            "{id}"
        );
        let error = build_id(Path::new("/etc/passwd")).expect_err("no program");
        assert!(error.to_string().starts_with("/etc/passwd: "), "{error}");
    }

    #[test]
    fn a_host_gets_the_modules_that_only_this_project_has() {
        let loads = [NodeModule {
            node: "client".into(),
            module: "own.ko".into(),
        }];
        let names = [
            "remoteswap.ko",
            "remote_swap_ram.ko",
            "lkdtm.ko",
            "own.ko",
            "igb.ko",
        ];
        let sent = names.map(|name| needed(Path::new(name), &loads));
        assert_eq!(sent, [true, true, true, true, false]);
    }
}
