//! Looks at the host: what is there, what is not, and what mends it.

use std::env;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::statvfs::statvfs;
use rapidswap_kernel::Variant;
use rapidswap_progress::Reporter;
use serde::Serialize;

use crate::clean;
use crate::cluster::options::AccelChoice;
use crate::cluster::rundir;
use crate::error::{Error, Result};
use crate::qemu::Qemu;
use crate::qemu::accel;
use crate::qemu::device::Accel;
use crate::size::{Size, human_readable};

/// The checkout's wrapper, which knows what the host needs.
const WRAPPER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../just");

/// What the first build wants.
const DISK_GIB: u64 = 10;

/// More than one checkout needs.
const CACHE_GIB: u64 = 20;

/// What to do where there is not as much.
const ELSEWHERE: &str = "export XDG_CACHE_HOME=/a/place/with/more";

/// What two nodes as they are by default have, and what runs beside them.
const MEMORY_MIB: u64 = 3 * 1024;

/// Longest path of a unix socket, with its end: `sun_path` of unix(7).
const SOCKET_PATH: usize = 108;

/// Room in a socket's path for the names of cluster and node.
const SOCKET_NAMES: usize = 48;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub item: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was seen, for people.
    pub seen: String,
    /// The exact commands that mend it, or better it.
    pub mend: Vec<String>,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works like this, but slower or not for long.
    Fair,
    /// A cluster cannot come up like this.
    Bad,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.verdict {
            Verdict::Good => "good",
            Verdict::Fair => "fair",
            Verdict::Bad => "BAD",
        };
        write!(f, "{word:<5} {:<12} {}", self.item, self.seen)?;
        for line in &self.mend {
            write!(f, "\n{:>18} {line}", "->")?;
        }
        Ok(())
    }
}

fn good(item: &'static str, seen: String) -> Finding {
    Finding {
        item,
        verdict: Verdict::Good,
        seen,
        mend: Vec::new(),
    }
}

fn fair(item: &'static str, seen: String, mend: &[&str]) -> Finding {
    Finding {
        item,
        verdict: Verdict::Fair,
        seen,
        mend: mend.iter().map(|&line| line.to_owned()).collect(),
    }
}

fn bad(item: &'static str, seen: String, mend: impl Into<Vec<String>>) -> Finding {
    Finding {
        item,
        verdict: Verdict::Bad,
        seen,
        mend: mend.into(),
    }
}

/// Looks at everything. Nothing is installed or changed, save that whether a
/// guest boots with KVM is tried if nobody has, and remembered.
pub fn examine() -> Result<Vec<Finding>> {
    let cache = rapidswap_cache::root()?;
    let qemu = Qemu::try_it();
    let kernel = rapidswap_kernel::built(Variant::Release).ok().flatten();
    Ok(vec![
        packages(Path::new(WRAPPER)),
        self::qemu(&qemu),
        kvm(&cache, qemu.as_ref().ok(), kernel.as_deref()),
        namespaces(),
        disk(&cache),
        cache_size(&cache),
        memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
        processors(std::thread::available_parallelism().map_or(1, usize::from)),
        run_directory(&rundir::base()),
    ])
}

fn qemu(found: &Result<Qemu>) -> Finding {
    let error = match found {
        Ok(qemu) => return good("qemu", qemu.version.clone()),
        Err(error) => error,
    };
    let mend: &[&str] = match error {
        Error::MissingQemu(_) => &["sudo apt-get install qemu-system-x86"],
        Error::OldQemu(_) => &[
            "sudo apt-get install --target-release $(. /etc/os-release && echo $VERSION_CODENAME)-backports qemu-system-x86",
            "export RAPIDSWAP_QEMU=/path/of/a/newer/qemu-system-x86_64",
        ],
        // The one that the user names is not there, or cannot be run.
        _ => &["unset RAPIDSWAP_QEMU"],
    };
    let mend: Vec<_> = mend.iter().map(|&line| line.to_owned()).collect();
    bad("qemu", error.to_string(), mend)
}

/// What `host-packages.txt` and `host-tools.txt` ask for.
fn packages(wrapper: &Path) -> Finding {
    let item = "packages";
    let output = Command::new(wrapper).env("JUST_SETUP", "print").output();
    match output {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            match lines.is_empty() {
                true => good(item, "all there".into()),
                false => bad(
                    item,
                    "some are missing: `./just` installs them by".into(),
                    lines,
                ),
            }
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            bad(item, said, [])
        }
        Err(error) => {
            let (seen, root) = (wrapper.display(), wrapper.parent().unwrap_or(wrapper));
            let mend = format!("git -C {} checkout -- just", root.display());
            bad(item, format!("cannot run {seen}: {error}"), [mend])
        }
    }
}

/// What KVM is asked to be used for, said after the reason why it is not.
const SLOWER: &str = "clusters run with tcg, slower";

fn kvm(cache: &Path, qemu: Option<&Qemu>, kernel: Option<&Path>) -> Finding {
    let item = "kvm";
    let Some(qemu) = qemu else {
        let seen = "without QEMU nobody knows whether a guest boots with it";
        return fair(item, seen.into(), &[]);
    };
    if let Ok(Some(choice)) = accel::known(AccelChoice::Auto, qemu) {
        let mend: &[&str] = if choice.reason.contains("permission") {
            &["sudo usermod --append --groups kvm $USER && newgrp kvm"]
        } else {
            &["sudo modprobe --all kvm_intel kvm_amd"]
        };
        return fair(item, format!("{}: {SLOWER}", choice.reason), mend);
    }
    let known = accel::remembered(cache, qemu).or_else(|| {
        // No longer than it takes to see that it does not work.
        let (choice, silent) = (AccelChoice::Auto, Reporter::silent());
        let choice = accel::probed(choice, kernel?, qemu, cache, &silent).ok()?;
        Some((choice.accel == Accel::Kvm, choice.reason))
    });
    match known {
        Some((true, reason)) => good(item, reason),
        Some((false, reason)) => {
            let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
            broken_kvm(&reason, cpu.contains(" hypervisor "))
        }
        None => fair(
            item,
            "no kernel is built yet to see whether a guest boots with it".into(),
            &["./just kernel"],
        ),
    }
}

/// There is a device file, and no guest boots.
fn broken_kvm(reason: &str, is_guest: bool) -> Finding {
    let seen = format!("{reason}: {SLOWER}");
    let again = "./just up --accel kvm";
    let reload =
        "sudo modprobe --remove kvm_intel kvm_amd kvm; sudo modprobe --all kvm_intel kvm_amd";
    match is_guest {
        false => fair("kvm", seen, &[reload, again]),
        true => fair(
            "kvm",
            format!(
                "{seen}; this host is a virtual machine, and the one that it runs on has to let it:"
            ),
            &[
                "echo 'options kvm_intel nested=1' | sudo tee /etc/modprobe.d/nested.conf  # there",
                reload,
                again,
            ],
        ),
    }
}

/// An ordinary user builds the guests' image in a user namespace.
fn namespaces() -> Finding {
    match rapidswap_images::obstacle() {
        None => good(
            "image",
            "this user can build the guests' root file system".into(),
        ),
        Some(mend) => bad(
            "image",
            "this user cannot build the guests' root file system".into(),
            [mend],
        ),
    }
}

fn disk(cache: &Path) -> Finding {
    let there = cache.ancestors().find(|path| path.exists());
    let there = there.unwrap_or(Path::new("/"));
    let Ok(stat) = statvfs(there) else {
        return bad("disk", format!("cannot look at {}", there.display()), []);
    };
    let free = (stat.blocks_available() * stat.fragment_size()) >> 20;
    let seen = format!("{} free in {}", Size::from_mib(free), there.display());
    let built = cache.join("kernel/out").exists();
    match (free >= DISK_GIB << 10, built) {
        (true, _) => good("disk", seen),
        (false, true) => fair(
            "disk",
            format!("{seen}, and a kernel from scratch wants {DISK_GIB} GiB"),
            &[ELSEWHERE],
        ),
        (false, false) => bad(
            "disk",
            format!("{seen}, and the first build wants {DISK_GIB} GiB"),
            [ELSEWHERE.to_owned()],
        ),
    }
}

/// It only grows until somebody cleans it.
fn cache_size(cache: &Path) -> Finding {
    let bytes = clean::size(cache);
    let seen = format!("{} in {}", human_readable(bytes), cache.display());
    match bytes >> 30 < CACHE_GIB {
        true => good("cache", seen),
        false => fair("cache", seen, &["./just clean"]),
    }
}

fn memory(meminfo: &str) -> Finding {
    let available = meminfo.lines().find_map(|line| {
        let rest = line.strip_prefix("MemAvailable:")?;
        rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    match available.map(|kib| kib >> 10) {
        Some(mib) if mib >= MEMORY_MIB => {
            good("memory", format!("{} available", Size::from_mib(mib)))
        }
        Some(mib) => bad(
            "memory",
            format!(
                "{} available, and two nodes want {}",
                Size::from_mib(mib),
                Size::from_mib(MEMORY_MIB)
            ),
            ["./just up --memory 256M --server-mem 64M".into()],
        ),
        None => bad("memory", "/proc/meminfo does not say".into(), []),
    }
}

fn processors(count: usize) -> Finding {
    match count {
        0 | 1 => fair(
            "processors",
            format!(
                "{count}: two nodes take turns on it; with a second one all takes half as long"
            ),
            &[],
        ),
        _ => good("processors", count.to_string()),
    }
}

/// Sockets have short paths.
fn run_directory(base: &Path) -> Finding {
    let length = base.as_os_str().len() + SOCKET_NAMES;
    let seen = base.display().to_string();
    match length < SOCKET_PATH {
        true => good("run dir", seen),
        false => bad(
            "run dir",
            format!("{seen} is too long for unix sockets"),
            ["export XDG_RUNTIME_DIR=/run/user/$(id -u)".into()],
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_is_available() {
        let all = "MemTotal:       8000000 kB\nMemAvailable:    4194304 kB\n";
        assert_eq!(memory(all).verdict, Verdict::Good);
        let little = memory("MemAvailable:    1048576 kB\n");
        assert_eq!((little.verdict, little.mend.len()), (Verdict::Bad, 1));
        assert_eq!(memory("").verdict, Verdict::Bad);
    }

    #[test]
    fn a_long_run_directory_is_no_good() {
        assert_eq!(
            run_directory(Path::new("/run/user/1000/rapidswap")).verdict,
            Verdict::Good
        );
        let long = format!("/tmp/{}", "x".repeat(80));
        assert_eq!(run_directory(Path::new(&long)).verdict, Verdict::Bad);
    }

    /// A QEMU that ends at once, whose guests therefore do not boot.
    fn useless(dir: &Path) -> Qemu {
        let program = dir.join("qemu");
        fs::write(&program, "#!/bin/sh\necho no such luck >&2\n").expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&program, mode).expect("executable");
        Qemu {
            program,
            version: "10.0".into(),
            named: true,
        }
    }

    #[test]
    fn kvm_is_tried_once_if_there_is_a_kernel() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let (dir, cache) = (temp.path(), temp.path().join("cache"));
        let qemu = useless(dir);
        let unknown = kvm(&cache, Some(&qemu), None);
        assert_eq!(unknown.mend, ["./just kernel"]);
        let kernel = dir.join("vmlinux");
        fs::write(&kernel, "none").expect("written");
        let tried = kvm(&cache, Some(&qemu), Some(&kernel));
        assert_eq!(tried.verdict, Verdict::Fair);
        assert!(tried.seen.contains("no such luck"), "{}", tried.seen);
        assert!(!tried.mend.is_empty());
        // What it came to is remembered, kernel or not.
        assert_eq!(kvm(&cache, Some(&qemu), None), tried);
    }

    #[test]
    fn what_is_amiss_is_said_as_written_down() {
        let old = Err(Error::OldQemu("6.2.0".into()));
        let gone = Err(Error::BadOption(
            "RAPIDSWAP_QEMU is /nowhere, and there is no such program".into(),
        ));
        let reason = "/dev/kvm is there, but no guest had booted with it after 2.5 s";
        let findings = [
            packages(Path::new("/nowhere/just")),
            qemu(&Err(Error::MissingQemu(crate::qemu::QEMU))),
            qemu(&old),
            qemu(&gone),
            kvm(Path::new("/nowhere"), None, None),
            broken_kvm(reason, false),
            broken_kvm(reason, true),
            memory("MemAvailable:    1048576 kB\n"),
            processors(1),
            processors(2),
            run_directory(Path::new("/tmp").join("x".repeat(80)).as_path()),
        ];
        let said = findings.map(|finding| finding.to_string() + "\n").concat();
        assert_eq!(said, include_str!("../tests/golden/doctor.txt"));
    }
}
