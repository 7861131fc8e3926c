//! What is kept of a cluster in which something failed: for each node its
//! console and log, what its agent, its QEMU, the module and the server say,
//! its tasks and memory, and its memory itself if that is asked for.

mod node;
mod scripts;

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::UNIX_EPOCH;

use rapidswap_progress::Reporter;

use crate::cluster::debug::module_file;
use crate::cluster::node::Node;
use crate::cluster::{Cluster, EVENTS};
use crate::console::symbols::{Sources, is_trace};
use crate::error::{Error, IoContext, Result};
use node::Folder;

/// Names the directory of what is kept of failures.
const ARTIFACTS: &str = "RAPIDSWAP_ARTIFACTS";

/// Says that the nodes' memory is to be kept of failures too.
const DUMP: &str = "RAPIDSWAP_DUMP";

/// Where in the cache that is otherwise.
pub(crate) const FAILURES: &str = "failures";

/// Name of the file that says what could not be had.
const MISSING: &str = "missing.txt";

/// Name of the file that says where in the sources the traces were.
const TRACES: &str = "traces.txt";

/// What was kept, and where.
#[derive(Clone, Debug)]
pub struct Collected {
    /// The directory, one below it for each node.
    pub dir: PathBuf,
    /// What could not be had, with the reason.
    pub missing: Vec<Missing>,
    /// The lines of each node's console that matter.
    pub telling: Vec<(String, Vec<String>)>,
}

/// Something that could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its path in the directory.
    pub item: PathBuf,
    /// Why it is not there.
    pub reason: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.item.display(), self.reason)
    }
}

impl fmt::Display for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (node, lines) in &self.telling {
            writeln!(f, "--- console of {node}")?;
            for line in lines {
                writeln!(f, "{line}")?;
            }
        }
        if !self.missing.is_empty() {
            writeln!(f, "--- could not be had: see {MISSING}")?;
        }
        writeln!(f, "--- all that was kept is in {}", self.dir.display())
    }
}

/// Keeps what can be had of a cluster in `dir`, which is made; with `dump` the
/// nodes' memory too. Nodes that are gone or do not answer cost no more than
/// the items that they alone could give.
pub fn collect(cluster: &Cluster, dir: &Path, dump: bool) -> Result<Collected> {
    fs::create_dir_all(dir).what(|| format!("cannot make {}", dir.display()))?;
    let dir = fs::canonicalize(dir).what(|| format!("cannot find {}", dir.display()))?;
    let nodes = cluster.nodes()?;
    let mut missing = of_the_cluster(cluster, &dir);
    let parts: Vec<Folder> = thread::scope(|scope| {
        let parts: Vec<_> = nodes
            .iter()
            .map(|node| scope.spawn(|| of_a_node(node, &dir, dump)))
            .collect();
        let parts = parts.into_iter().map(|part| part.join());
        parts
            .map(|part| part.unwrap_or(Err(Error::SupervisorGone)))
            .collect::<Result<_>>()
    })?;
    let mut telling = Vec::new();
    for part in parts {
        missing.extend(part.missing);
        telling.push((part.node, part.telling));
    }
    if let Err(reason) = symbolise(cluster, &dir, &mut telling) {
        missing.push(Missing {
            item: TRACES.into(),
            reason,
        });
    }
    if !missing.is_empty() {
        let lines: String = missing.iter().map(|item| format!("{item}\n")).collect();
        let path = dir.join(MISSING);
        fs::write(&path, lines).what(|| format!("cannot write {}", path.display()))?;
    }
    Ok(Collected {
        dir,
        missing,
        telling,
    })
}

/// Keeps what can be had of a cluster in which something by that name failed,
/// and notes where that is and what matters of it. What cannot be had at all is
/// noted too, and is no reason for another failure.
pub fn keep_failure(cluster: &Cluster, name: &str, reporter: &Reporter) -> Option<Collected> {
    let kept = failure_dir(name).and_then(|dir| collect(cluster, &dir, dumps_failures()));
    match &kept {
        Ok(kept) => kept
            .to_string()
            .lines()
            .for_each(|line| reporter.note(line)),
        Err(error) => reporter.note(&format!("nothing could be collected: {error}")),
    }
    kept.ok()
}

/// Whether the nodes' memory is wanted of a failure: `$RAPIDSWAP_DUMP`.
fn dumps_failures() -> bool {
    env::var_os(DUMP).is_some_and(|dump| !dump.is_empty() && dump != "0")
}

/// A new directory for what is kept of the failure of something by that name:
/// in `$RAPIDSWAP_ARTIFACTS`, else in the cache.
pub fn failure_dir(name: &str) -> Result<PathBuf> {
    let set = env::var_os(ARTIFACTS).filter(|place| !place.is_empty());
    let place = match set {
        Some(set) => PathBuf::from(set),
        None => rapidswap_cache::root()?.join(FAILURES),
    };
    let since = UNIX_EPOCH.elapsed().unwrap_or_default();
    let name = name.replace("::", ".");
    Ok(place.join(format!("{name}-{}", since.as_secs())))
}

fn of_a_node(node: &Node, dir: &Path, dump: bool) -> Result<Folder> {
    let mut folder = Folder::make(node, dir)?;
    folder.look();
    if dump {
        // First: all else that is asked of the node changes its memory.
        folder.dump();
    }
    folder.ask_agent();
    folder.ask_qemu();
    folder.copy_files();
    Ok(folder)
}

/// Adds to the traces where in the sources they were, and keeps them.
fn symbolise(
    cluster: &Cluster,
    dir: &Path,
    telling: &mut [(String, Vec<String>)],
) -> std::result::Result<(), String> {
    let mut lines = telling.iter().flat_map(|(_, lines)| lines);
    if !lines.any(|line| is_trace(line)) {
        return Ok(());
    }
    let status = cluster.status().map_err(|error| error.to_string())?;
    let module = |name: &str| module_file(cluster.run_dir(), name);
    let mut sources = Sources::load(&status.vmlinux, module)?;
    let mut text = String::new();
    for (node, lines) in telling {
        text += &format!("--- console of {node}\n");
        for line in lines {
            *line = sources.annotate(line);
            text += &format!("{line}\n");
        }
    }
    fs::write(dir.join(TRACES), text).map_err(|error| error.to_string())
}

/// What belongs to no node.
fn of_the_cluster(cluster: &Cluster, dir: &Path) -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut note = |item: &str, result: std::result::Result<(), String>| {
        if let Err(reason) = result {
            missing.push(Missing {
                item: item.into(),
                reason,
            });
        }
    };
    for log in ["supervisor.log", EVENTS] {
        let copied = fs::copy(cluster.run_dir().join(log), dir.join(log));
        note(log, copied.map(drop).map_err(|error| error.to_string()));
    }
    let status = cluster.status().map_err(|error| error.to_string());
    let written = status.and_then(|status| {
        let json = serde_json::to_vec_pretty(&status).map_err(|error| error.to_string())?;
        fs::write(dir.join("status.json"), json).map_err(|error| error.to_string())
    });
    note("status.json", written);
    missing
}
