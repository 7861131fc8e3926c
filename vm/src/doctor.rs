//! Looks at the host: what is there, what is not, and what mends it.

use std::env;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::statvfs::statvfs;
use serde::Serialize;

use crate::accel;
use crate::clean;
use crate::device::Accel;
use crate::error::Result;
use crate::options::AccelChoice;
use crate::prepare::cache;
use crate::qemu::Qemu;
use crate::rundir;
use crate::size::Size;

/// The checkout's wrapper, which knows what the host needs.
const WRAPPER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../just");

/// What the first build wants.
const DISK_GIB: u64 = 10;

/// More than one checkout needs.
const CACHE_GIB: u64 = 20;

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

fn bad(item: &'static str, seen: String, mend: impl Into<Vec<String>>) -> Finding {
    Finding {
        item,
        verdict: Verdict::Bad,
        seen,
        mend: mend.into(),
    }
}

/// Looks at everything. Nothing is installed or changed.
pub fn examine() -> Result<Vec<Finding>> {
    let cache = cache()?;
    let qemu = Qemu::find();
    Ok(vec![
        packages(),
        match &qemu {
            Ok(qemu) => good("qemu", qemu.version.clone()),
            Err(error) => bad("qemu", error.to_string(), []),
        },
        kvm(&cache, qemu.as_ref().ok()),
        namespaces(),
        disk(&cache),
        cache_size(&cache),
        memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
        processors(),
        run_directory(&rundir::base()),
    ])
}

/// What `host-packages.txt` and `host-tools.txt` ask for.
fn packages() -> Finding {
    let item = "packages";
    let output = Command::new(WRAPPER).env("JUST_SETUP", "print").output();
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
        Err(error) => bad(item, format!("cannot run {WRAPPER}: {error}"), []),
    }
}

fn kvm(cache: &Path, qemu: Option<&Qemu>) -> Finding {
    let fair = |seen: String, mend: &[&str]| Finding {
        item: "kvm",
        verdict: Verdict::Fair,
        seen,
        mend: mend.iter().map(|&line| line.to_owned()).collect(),
    };
    let Some(qemu) = qemu else {
        return fair(
            "without QEMU nobody knows whether a guest boots with it".into(),
            &[],
        );
    };
    match accel::known(AccelChoice::Auto, qemu) {
        Ok(Some(choice)) if choice.accel == Accel::Tcg => {
            let mend: &[&str] = if choice.reason.contains("permission") {
                &["sudo usermod --append --groups kvm $USER && newgrp kvm"]
            } else {
                &["sudo modprobe --all kvm_intel kvm_amd"]
            };
            fair(
                format!("{}: clusters run with tcg, slower", choice.reason),
                mend,
            )
        }
        _ => match accel::remembered(cache, qemu) {
            Some((true, reason)) => good("kvm", reason),
            Some((false, reason)) => fair(format!("{reason}: clusters run with tcg, slower"), &[]),
            None => fair(
                "/dev/kvm can be opened; whether a guest boots with it is not known yet".into(),
                &["./just up"],
            ),
        },
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
        (false, true) => Finding {
            item: "disk",
            verdict: Verdict::Fair,
            seen: format!("{seen}, and a kernel from scratch wants {DISK_GIB} GiB"),
            mend: vec!["set XDG_CACHE_HOME to a place with more".into()],
        },
        (false, false) => bad(
            "disk",
            format!("{seen}, and the first build wants {DISK_GIB} GiB"),
            ["set XDG_CACHE_HOME to a place with more".into()],
        ),
    }
}

/// It only grows until somebody cleans it.
fn cache_size(cache: &Path) -> Finding {
    let bytes = clean::size(cache);
    let seen = format!("{} in {}", clean::mib(bytes), cache.display());
    match bytes >> 30 < CACHE_GIB {
        true => good("cache", seen),
        false => Finding {
            item: "cache",
            verdict: Verdict::Fair,
            seen,
            mend: vec!["./just clean".into()],
        },
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

fn processors() -> Finding {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let seen = format!("{count}");
    match count {
        0 | 1 => Finding {
            item: "processors",
            verdict: Verdict::Fair,
            seen: format!("{seen}: two nodes take turns on it"),
            mend: Vec::new(),
        },
        _ => good("processors", seen),
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

    #[test]
    fn a_line_each_with_what_mends_it() {
        let finding = bad("disk", "full".into(), ["rm something".to_owned()]);
        let expected = "BAD   disk         full\n                -> rm something";
        assert_eq!(finding.to_string(), expected);
    }
}
