//! Processes of this host, to see that none is left behind.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

/// A process that cannot be mistaken for a later one of the same number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// The command name.
    pub name: String,
    parent: u32,
    started: u64,
}

impl Process {
    /// Whether it is a virtual machine.
    pub fn is_qemu(&self) -> bool {
        self.name.starts_with("qemu-system")
    }

    /// Whether it still runs; a zombie does not.
    pub fn runs(&self) -> bool {
        let Some((now, state)) = read(self.pid) else {
            return false;
        };
        now.started == self.started && state != 'Z'
    }
}

/// A process and all its descendants.
pub fn tree(root: u32) -> Result<Vec<Process>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc").context("read /proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        if let Some((process, _)) = pid.and_then(read) {
            all.insert(process.pid, process);
        }
    }
    let descends = |process: &Process| {
        let mut pid = process.pid;
        // Bounded, should numbers be reused while they were read.
        for _ in 0..64 {
            if pid == root {
                return true;
            }
            match all.get(&pid) {
                Some(process) => pid = process.parent,
                None => return false,
            }
        }
        false
    };
    Ok(all.values().filter(|p| descends(p)).cloned().collect())
}

/// Those of a set that still run.
pub fn survivors(processes: &[Process]) -> Vec<Process> {
    processes.iter().filter(|p| p.runs()).cloned().collect()
}

fn read(pid: u32) -> Option<(Process, char)> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Parses `/proc/PID/stat`. The name is in brackets and may hold anything.
fn parse(stat: &str) -> Option<(Process, char)> {
    let (pid, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let process = Process {
        pid: pid.parse().ok()?,
        name: name.to_owned(),
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.trim().parse().ok()?,
    };
    Some((process, fields[0].chars().next()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_child_is_in_the_tree_until_it_ends() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep");
        let before = tree(std::process::id()).expect("tree");
        let of_child: Vec<_> = before.iter().filter(|p| p.pid == child.id()).collect();
        assert_eq!(of_child.len(), 1);
        assert!(survivors(&before).iter().any(|p| p.pid == child.id()));
        child.kill().expect("kill");
        assert!(child.wait().is_ok());
        assert!(!survivors(&before).iter().any(|p| p.pid == child.id()));
    }

    #[test]
    fn a_name_with_brackets_and_spaces_is_read() {
        let fields = (0..30).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let (process, state) = parse(&format!("7 (a) b) S {fields}")).expect("stat");
        assert_eq!(
            (process.pid, process.name.as_str(), state),
            (7, "a) b", 'S')
        );
        assert_eq!((process.parent, process.started), (0, 18));
    }
}
