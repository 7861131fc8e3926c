//! Programs under a memory limit: a cgroup v1 memory group, entered as
//! `cgexec --sticky -g memory:NAME taskset -c CPUS /usr/bin/time -v CMD`.

use std::ffi::{OsStr, OsString};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::cluster::node::Node;
use crate::error::{Error, Result};
use crate::size::Size;
use crate::wait::wait_until;

const MEMORY: &str = "/sys/fs/cgroup/memory";

/// How long the group's last memory and processes may take to go.
const REMOVAL: Duration = Duration::from_secs(10);

/// How long its usage may change all the time.
const SETTLED: Duration = Duration::from_secs(10);

/// A memory group in a node. Remove it with [`MemoryGroup::remove`].
#[derive(Debug)]
pub struct MemoryGroup {
    node: Node,
    name: String,
}

impl MemoryGroup {
    /// Makes a group with a limit and a name of its own.
    pub fn create(node: &Node, limit: Size) -> Result<MemoryGroup> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("rapidswap-{}-{number}", process::id());
        let group = MemoryGroup {
            node: node.clone(),
            name,
        };
        // A host may have booted without it.
        let script = format!(
            "if ! [ -e {MEMORY}/tasks ]; then echo 'no memory controller of cgroup v1: boot with \
             systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1' >&2; exit 1; fi; \
             mkdir {MEMORY}/{}",
            group.name
        );
        node.run("making a memory group", ["sh", "-c", &script])?;
        match group.set_limit(limit) {
            Ok(()) => Ok(group),
            Err(error) => {
                // The limit's refusal is what matters.
                let _ = group.remove();
                Err(error)
            }
        }
    }

    /// Its name, as `cgexec` takes it after `memory:`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path in the node of one of its files.
    pub fn file(&self, name: &str) -> String {
        format!("{MEMORY}/{}/{name}", self.name)
    }

    /// Changes its limit.
    pub fn set_limit(&self, limit: Size) -> Result<()> {
        self.write_limit(&limit.bytes().to_string())
    }

    /// Takes its limit away; what was paged out stays where it is.
    pub fn lift(&self) -> Result<()> {
        self.write_limit("-1")
    }

    /// A number of its `memory.stat`, for instance `rswpin`; without those of
    /// groups below it.
    pub fn stat(&self, name: &str) -> Result<u64> {
        let file = self.file("memory.stat");
        let what = "reading the memory statistics";
        let text = self.node.run(what, ["cat", &file])?;
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        let number = lines.find(|(key, _)| *key == name);
        number
            .and_then(|(_, number)| number.trim().parse().ok())
            .ok_or_else(|| Error::Step {
                what: what.into(),
                node: self.node.name().into(),
                detail: format!("{file} has no number {name}"),
            })
    }

    /// How much of its memory is not paged out.
    pub fn usage(&self) -> Result<Size> {
        let file = self.file("memory.usage_in_bytes");
        let text = self.node.run("reading the memory usage", ["cat", &file])?;
        let bytes = text.trim().parse();
        bytes
            .map(Size::from_bytes)
            .map_err(|_| Error::NotASize(text))
    }

    /// How much of its memory is paged out. Exact, where that of `memory.stat`
    /// may be some dozen pages off for two seconds.
    pub fn paged_out(&self) -> Result<Size> {
        // What a processor has charged beforehand is in both, and may be given
        // back in between: both are of one moment if neither has changed after.
        let files = ["memory.usage_in_bytes", "memory.memsw.usage_in_bytes"];
        let [usage, all] = files.map(|file| self.file(file));
        let argv = ["cat", &usage, &all, &usage, &all];
        let same = wait_until(SETTLED, || {
            let text = self.node.run("reading the memory usage", argv)?;
            let counts: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
            match counts[..] {
                [usage, all, again, all_again] if (usage, all) == (again, all_again) => {
                    Ok(Some(Size::from_bytes(all.saturating_sub(usage))))
                }
                [_, _, _, _] => Ok(None),
                _ => Err(Error::NotASize(text)),
            }
        })?;
        same.ok_or_else(|| Error::Step {
            what: "reading the memory usage".into(),
            node: self.node.name().into(),
            detail: "it does not stay the same".into(),
        })
    }

    fn write_limit(&self, bytes: &str) -> Result<()> {
        let file = self.file("memory.limit_in_bytes");
        // The shell's own says of any error that it is one.
        let script = format!("/bin/echo {bytes} > {file}");
        self.node
            .run("setting the memory limit", ["sh", "-c", &script])
            .map(drop)
    }

    /// The command line that runs `command` in the group on `cpus`.
    pub fn command<I, S>(&self, cpus: &str, command: I) -> Vec<OsString>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let group = format!("memory:{}", self.name);
        let wrapper = [
            "cgexec",
            "--sticky",
            "-g",
            &group,
            "taskset",
            "-c",
            cpus,
            "/usr/bin/time",
            "-v",
        ];
        let mut argv: Vec<OsString> = wrapper.iter().map(OsString::from).collect();
        argv.extend(command.into_iter().map(|arg| arg.as_ref().to_owned()));
        argv
    }

    /// Ends what still runs in it and removes it.
    pub fn remove(self) -> Result<()> {
        let directory = format!("{MEMORY}/{}", self.name);
        let script = format!(
            "for pid in $(cat {directory}/cgroup.procs); do kill -9 $pid 2>/dev/null; done; \
             rmdir {directory} 2>/dev/null"
        );
        let what = format!("removing memory group {}", self.name);
        let gone = wait_until(REMOVAL, || {
            let script = script.clone();
            let output = self
                .node
                .step(&what, move |node| node.exec(["sh", "-c", &script]))?;
            Ok(output.status.success().then_some(()))
        })?;
        gone.ok_or_else(|| Error::Step {
            what,
            node: self.node.name().into(),
            detail: format!("it is still in use after {} s", REMOVAL.as_secs()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_the_documented_one() {
        let node = Node::new("/run".as_ref(), "default", "client");
        let group = MemoryGroup {
            node,
            name: "one".into(),
        };
        let argv = group.command("0,1", ["prog", "an arg"]);
        let expected = "cgexec --sticky -g memory:one taskset -c 0,1 /usr/bin/time -v prog|an arg";
        let expected: Vec<&str> = expected
            .split('|')
            .flat_map(|part| match part {
                "an arg" => vec![part],
                other => other.split(' ').collect(),
            })
            .collect();
        assert_eq!(argv, expected);
    }
}
