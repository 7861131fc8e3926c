//! What has to exist before a cluster can start: kernel, module, image,
//! programs, room on the disk. Each is looked at before anything is started.

mod hosts;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rapidswap_cache::require_space;
use rapidswap_images::Machine;
use rapidswap_kernel::Variant;
use rapidswap_progress::Reporter;

use crate::clean;
use crate::cluster::kernels::{self, NodeKernel};
use crate::cluster::options::UpOptions;
use crate::cluster::profile::{Address, CLIENT, Profile};
use crate::cluster::programs;
use crate::cluster::rundir;
use crate::cluster::status::Start;
use crate::error::{Error, IoContext, Result, names};
use crate::qemu::Qemu;
use crate::qemu::accel::{self, Choice};
use crate::qemu::device::Accel;
use crate::qemu::tsc;
use crate::size::Size;
use crate::supervisor::{NodePlan, Origin, Plan};

/// Room for what guests write to their root disks.
const ROOT_WRITES_MIB: u64 = 128;

/// Memory of the server node beyond what it serves and what any node has:
/// page tables and the adapter's structures.
const SERVER_EXTRA_MIB: u64 = 64;

/// Memory that the debug kernel keeps for its checks, whatever it has: of each
/// object where it came from, of each lock its history.
const CHECKS_MIB: u64 = 128;

/// And how much of what it has: KASAN's shadow is an eighth of it, memory that
/// was freed and is watched a thirty-second.
const CHECKS_PART: u64 = 5;

/// Makes everything that `options` need and says how to start it.
pub(crate) fn prepare(options: &UpOptions, reporter: &Reporter) -> Result<Plan> {
    options.validate()?;
    let profile = Profile::load(&options.profile)?;
    let wanted = wanted_kernel(options, &profile);
    if profile.is_hosts() {
        return hosts::prepare(options, wanted, profile, reporter);
    }
    let nodes = nodes(options, &wanted, &profile)?;
    let cache = rapidswap_cache::root()?;
    let scratch = cache.join("scratch");
    fs::create_dir_all(&scratch).what(|| format!("cannot make {}", scratch.display()))?;
    let needs = Size::from_mib(options.disk_mib + ROOT_WRITES_MIB);
    require_space(&scratch, needs.bytes(), "pass a smaller --disk")?;
    let qemu = Qemu::find()?;
    let agent = programs::agent()?;
    let guest_programs = programs::guest()?;
    let known = accel::known(options.accel, &qemu)?;
    if let Some(choice) = &known {
        announce(choice, reporter);
    }

    let started = Instant::now();
    let kernel = kernels::ensure(&wanted, options, reporter)?;
    let image = rapidswap_images::ensure(Machine::Guest, reporter).map_err(failed)?;
    let build_s = started.elapsed().as_secs_f64();

    let choice = match known {
        Some(choice) => choice,
        None => {
            let choice = accel::probed(options.accel, &kernel.image, &qemu, &cache, reporter)?;
            announce(&choice, reporter);
            choice
        }
    };
    let files = kernel.modules.iter().chain([&kernel.image, &image.root]);
    clean::used(&cache, files.map(PathBuf::as_path));
    Ok(Plan {
        name: options.name.clone(),
        base: rundir::base(),
        accel: choice.accel,
        accel_reason: choice.reason,
        tsc_khz: (choice.accel == Accel::Tcg).then(tsc::khz).flatten(),
        qemu,
        origin: Origin::Boot,
        start: Start {
            restored: false,
            reason: "asked for".into(),
        },
        vmlinux: kernel.image,
        boot_deadline_s: boot_deadline(choice.accel, &wanted).as_secs(),
        kernel: wanted,
        kernel_release: kernel.release,
        agent,
        image: image.root,
        programs: guest_programs,
        modules: kernel.modules,
        loads: kernel.loads,
        link: options.link,
        scratch,
        cpus: options.cpus,
        disk_mib: options.disk_mib,
        server_mib: options.server_mib,
        build_s,
        swap_to: options.swap_to.clone(),
        nodes,
        profile,
    })
}

fn nodes(options: &UpOptions, kernel: &NodeKernel, profile: &Profile) -> Result<Vec<NodePlan>> {
    let memory_mib = u64::from(options.memory_mib);
    // So that as much is left for programs as on the release kernel.
    let with_checks = |mib: u64| match kernel {
        NodeKernel::Variant(Variant::Debug) => mib + mib / CHECKS_PART + CHECKS_MIB,
        _ => mib,
    };
    let nodes = profile.nodes(options.servers)?;
    if options.swap_to == CLIENT || !nodes.iter().any(|(name, _)| *name == options.swap_to) {
        let servers: Vec<_> = nodes[1..].iter().map(|(name, _)| name.as_str()).collect();
        return Err(Error::BadOption(format!(
            "--swap-to {} is no server of this cluster: use {}",
            options.swap_to,
            servers.join(" or ")
        )));
    }
    for folder in &options.modules {
        if !nodes.iter().any(|(name, _)| *name == folder.node) {
            return Err(Error::UnknownNode {
                node: folder.node.clone(),
                known: names(nodes.iter().map(|(name, _)| name.as_str())),
            });
        }
    }
    let plan = |(name, address): (String, Address)| {
        let swaps = name == CLIENT;
        NodePlan {
            address: address.ip.to_string(),
            memory_mib: with_checks(match swaps {
                true => memory_mib,
                false => memory_mib + options.server_mib + SERVER_EXTRA_MIB,
            }),
            swap_disk: swaps,
            host: None,
            name,
        }
    };
    Ok(nodes.into_iter().map(plan).collect())
}

/// The kernel asked for; where none is, the profile's.
fn wanted_kernel(options: &UpOptions, profile: &Profile) -> NodeKernel {
    let asked = options.kernel.clone();
    asked.unwrap_or_else(|| profile.kernel.into())
}

fn announce(choice: &Choice, reporter: &Reporter) {
    reporter.note(&format!(
        "accel: {} ({})",
        choice.accel.name(),
        choice.reason
    ));
}

/// A panic or an exit is noticed when it happens; this is for a kernel that
/// hangs without a word, and for a busy host.
fn boot_deadline(accel: Accel, kernel: &NodeKernel) -> Duration {
    let base = match accel {
        Accel::Kvm => 60,
        Accel::Tcg | Accel::None => 120,
    };
    Duration::from_secs(base) * kernel.patience()
}

pub(crate) fn failed(error: impl std::error::Error) -> Error {
    // The whole chain on one line: the cause is often the only useful part.
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    Error::Prepare(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_has_room_for_what_it_serves() {
        let options = UpOptions {
            memory_mib: 512,
            server_mib: 256,
            ..UpOptions::default()
        };
        let profile = Profile::load(&options.profile).expect("shipped");
        let with = |kernel: Variant| nodes(&options, &kernel.into(), &profile);
        let release = with(Variant::Release).expect("right");
        assert_eq!(release[0].memory_mib, 512);
        assert!(release[1].memory_mib >= release[0].memory_mib + 256);

        let debug = with(Variant::Debug).expect("right");
        for (node, debug) in release.iter().zip(debug) {
            // The shadow alone is an eighth.
            assert!(debug.memory_mib * 7 / 8 > node.memory_mib, "{}", node.name);
        }
    }

    #[test]
    fn a_kernel_that_is_asked_for_is_not_the_profiles() {
        let profile = Profile::load("mlx5").expect("shipped");
        let wanted = |kernel: Option<Variant>| {
            let options = UpOptions {
                kernel: kernel.map(Into::into),
                ..UpOptions::default()
            };
            wanted_kernel(&options, &profile)
        };
        assert_eq!(wanted(None), Variant::Host.into());
        for asked in [Variant::Release, Variant::Debug] {
            assert_eq!(wanted(Some(asked)), asked.into());
        }
    }

    #[test]
    fn a_client_swaps_to_a_server_of_its_cluster() {
        let to = |name: &str| UpOptions {
            servers: 2,
            swap_to: name.into(),
            ..UpOptions::default()
        };
        let profile = Profile::load("rxe").expect("shipped");
        let nodes = |options: &UpOptions| nodes(options, &profile.kernel.into(), &profile);
        let planned = nodes(&to("server2")).expect("right");
        assert_eq!(planned.len(), 3);
        for name in ["client", "server3"] {
            let error = nodes(&to(name)).expect_err("wrong").to_string();
            let expected =
                format!("--swap-to {name} is no server of this cluster: use server or server2");
            assert_eq!(error, expected);
        }
    }
}
