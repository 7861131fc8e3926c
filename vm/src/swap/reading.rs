//! What a node says at one moment: counters, times, memory.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cluster::node::Node;
use crate::error::Result;
use crate::swap::counters::{Counters, parsed};
use crate::swap::latency::Latencies;
use crate::swap::{STATUS, pairs};

/// Times of the module.
const HISTOGRAMS: &str = "/sys/kernel/debug/remoteswap/histograms";

/// Times of the kernel's part.
const STAGES: &str = "/sys/kernel/debug/remote_swap/latency";

const VMSTAT: &str = "/proc/vmstat";

const MEMINFO: &str = "/proc/meminfo";

/// Limit and usage of each memory group below the root, of cgroup v1 and v2.
const GROUPS: &str = "/sys/fs/cgroup/memory/*/memory.limit_in_bytes \
                      /sys/fs/cgroup/memory/*/memory.usage_in_bytes \
                      /sys/fs/cgroup/*/memory.max /sys/fs/cgroup/*/memory.current";

/// The names of those two files.
const LIMIT_AND_USAGE: [(&str, &str); 2] = [
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ("memory.max", "memory.current"),
];

/// From here on the kernel's limit means that there is none.
const NO_LIMIT: u64 = 1 << 62;

/// What has been moved, and how long it took: since boot, or between two
/// moments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Pages.
    pub counters: Counters,
    /// Times of the kernel and the module; `None` while that is not loaded.
    pub latencies: Option<Latencies>,
}

/// A node's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// All of it.
    pub total_bytes: u64,
    /// What programs could have of it without swapping.
    pub available_bytes: u64,
    /// All swap devices.
    pub swap_total_bytes: u64,
    /// What is free of them.
    pub swap_free_bytes: u64,
}

/// A group of processes with a memory limit, as `run` makes one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// What it has.
    pub used_bytes: u64,
    /// What it may have.
    pub limit_bytes: u64,
}

/// All that the client says at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What it has moved.
    pub figures: Figures,
    /// How the module's session is; `None` while it is not loaded.
    pub session: Option<String>,
    /// Its memory.
    pub memory: Memory,
    /// Groups that have a limit, by name.
    pub groups: Vec<Group>,
}

impl Figures {
    /// What came since an earlier moment.
    pub fn since(&self, earlier: &Figures) -> Figures {
        let latencies = self.latencies.as_ref().map(|now| {
            let then = earlier.latencies.as_ref();
            then.map_or_else(|| now.clone(), |then| now.since(then))
        });
        Figures {
            counters: self.counters.since(&earlier.counters),
            latencies,
        }
    }
}

impl Reading {
    /// Asks the client, by one command.
    pub fn of(client: &Node) -> Result<Reading> {
        // Some of the files may not be there, which is no failure.
        let script = format!(
            "grep -Hs '' {VMSTAT} {MEMINFO} {STATUS} {HISTOGRAMS} {STAGES} {GROUPS} || true"
        );
        let said = client.run("reading counters", ["sh", "-c", &script])?;
        let files = split(&said);
        let text = |path: &str| files.get(path).map(String::as_str);
        Ok(Reading {
            figures: Figures {
                counters: parsed(client, text(VMSTAT).unwrap_or_default())?,
                // Without any time yet a file is empty and not in the answer.
                latencies: text(STATUS).map(|_| {
                    let times = [HISTOGRAMS, STAGES].map(|file| text(file).unwrap_or_default());
                    Latencies::parse(&times.concat())
                }),
            },
            session: text(STATUS).and_then(|status| pairs(status).remove("state")),
            memory: Memory::parse(text(MEMINFO).unwrap_or_default()),
            groups: groups(&files),
        })
    }
}

impl Memory {
    /// From the text of `/proc/meminfo`.
    pub(crate) fn parse(meminfo: &str) -> Memory {
        let pairs = pairs(meminfo);
        let bytes = |key: &str| {
            let value = pairs.get(key)?.strip_suffix(" kB")?;
            value.parse::<u64>().ok()?.checked_mul(1024)
        };
        Memory {
            total_bytes: bytes("MemTotal:").unwrap_or(0),
            available_bytes: bytes("MemAvailable:").unwrap_or(0),
            swap_total_bytes: bytes("SwapTotal:").unwrap_or(0),
            swap_free_bytes: bytes("SwapFree:").unwrap_or(0),
        }
    }
}

/// Takes `grep -H`'s output apart: each file's text by its path.
fn split(said: &str) -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for (path, line) in said.lines().filter_map(|line| line.split_once(':')) {
        let text = files.entry(path.to_owned()).or_default();
        text.push_str(line);
        text.push('\n');
    }
    files
}

fn groups(files: &BTreeMap<String, String>) -> Vec<Group> {
    let number = |path: &str| files.get(path)?.trim().parse::<u64>().ok();
    let limits = files.iter().filter_map(|(path, text)| {
        let (folder, file) = path.rsplit_once('/')?;
        let (_, usage) = LIMIT_AND_USAGE.iter().find(|(limit, _)| *limit == file)?;
        // Of cgroup v2 no limit is a word.
        let limit_bytes = text.trim().parse().ok()?;
        Some(Group {
            name: folder.rsplit('/').next()?.to_owned(),
            used_bytes: number(&format!("{folder}/{usage}"))?,
            limit_bytes,
        })
    });
    limits
        .filter(|group| group.limit_bytes < NO_LIMIT)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_apart_again() {
        let files = split("/a:x: 1\n/a:\n/b:y 2\n");
        assert_eq!(files["/a"], "x: 1\n\n");
        assert_eq!(files["/b"], "y 2\n");
    }

    #[test]
    fn memory_is_in_bytes() {
        let memory = Memory::parse("MemTotal:  4 kB\nMemAvailable: 3 kB\nSwapTotal: 2 kB\n");
        let expected = Memory {
            total_bytes: 4096,
            available_bytes: 3072,
            swap_total_bytes: 2048,
            swap_free_bytes: 0,
        };
        assert_eq!(memory, expected);
    }

    #[test]
    fn groups_without_a_limit_are_left_out() {
        let root = "/sys/fs/cgroup/memory";
        let said = format!(
            "{root}/one/memory.limit_in_bytes:4096\n{root}/one/memory.usage_in_bytes:1024\n\
             {root}/two/memory.limit_in_bytes:9223372036854771712\n{root}/two/memory.usage_in_bytes:1\n\
             {root}/one/memory.kmem.limit_in_bytes:7\n\
             /sys/fs/cgroup/new/memory.max:8192\n/sys/fs/cgroup/new/memory.current:2048\n\
             /sys/fs/cgroup/all/memory.max:max\n/sys/fs/cgroup/all/memory.current:1\n"
        );
        let group = |name: &str, used_bytes, limit_bytes| Group {
            name: name.into(),
            used_bytes,
            limit_bytes,
        };
        let expected = [group("one", 1024, 4096), group("new", 2048, 8192)];
        let mut found = groups(&split(&said));
        found.sort_by_key(|group| group.used_bytes);
        assert_eq!(found, expected);
    }
}
