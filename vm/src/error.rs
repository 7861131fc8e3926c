//! Everything that can go wrong between a command and a cluster. Each message
//! is one line which says what is wrong and, where a user can help, what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::console::splat::{Splat, SplatKind};
use crate::outcome::Outcome;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something about a cluster failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing of that name runs.
    #[error("no cluster named `{0}` is running: start it with `./just up{option}`", option = named(.0))]
    NoCluster(String),
    /// A second `up` of one name.
    #[error(
        "cluster `{0}` is already up: use it, stop it with `./just down{option}`, or start another with `--name`",
        option = named(.0)
    )]
    AlreadyUp(String),
    /// A name that cannot be a directory and a part of a socket path.
    #[error("`{0}` is not a cluster name: use 1 to 32 of a-z, A-Z, 0-9, - and _")]
    BadName(String),
    /// A node nobody declared.
    #[error("no node named `{node}`: this cluster has {known}")]
    UnknownNode {
        /// The name asked for.
        node: String,
        /// The names there are.
        known: String,
    },
    /// Text that does not parse as a [`Size`].
    #[error("`{0}` is not a size: write a number with K, M or G, such as 64M")]
    NotASize(String),
    /// An option out of its range.
    #[error("{0}")]
    BadOption(String),
    /// QEMU is not installed.
    #[error("{0} is not in PATH: install it with `apt install qemu-system-x86`")]
    MissingQemu(&'static str),
    /// QEMU lacks what the link needs.
    #[error("QEMU {0} is too old: 7.2 or newer is needed")]
    OldQemu(String),
    /// `--accel kvm` where no guest boots under KVM.
    #[error("--accel kvm: {0}; use `--accel tcg` or `--accel auto`")]
    KvmUnusable(String),
    /// Nothing can be kept in the cache.
    #[error(transparent)]
    Cache(#[from] rapidswap_cache::Error),
    /// A program the guests run was not built.
    #[error("{0} is missing: run `./just build`")]
    MissingProgram(PathBuf),
    /// The kernel, the module or the image could not be made.
    #[error("{0}")]
    Prepare(String),
    /// A node did not come up. The last lines of its console follow the reason.
    #[error("node `{node}` did not boot: {reason}{tail}")]
    Boot {
        /// Which node.
        node: String,
        /// What was seen.
        reason: String,
        /// The last console lines, each on a line of its own, or nothing.
        tail: String,
    },
    /// The node was up and is not any more. The last lines of its console
    /// follow the reason.
    #[error("node `{node}` is gone: {reason}{tail}")]
    NodeGone {
        /// Which node.
        node: String,
        /// What it ended as.
        outcome: Outcome,
        /// What became of it.
        reason: String,
        /// The last console lines, each on a line of its own, or nothing.
        tail: String,
    },
    /// A command that is part of bringing the cluster up failed in a node.
    #[error("{what} on node `{node}` failed: {detail}")]
    Step {
        /// What was being done.
        what: String,
        /// On which node.
        node: String,
        /// Its status and what it said.
        detail: String,
    },
    /// A node is up, and what takes it moments is not done.
    #[error(
        "node `{node}` does not answer: {what} is not done after {} s; see `./just logs` and `./just gdb`",
        .limit.as_secs()
    )]
    Hangs {
        /// Which node.
        node: String,
        /// What was being done.
        what: String,
        /// How long that was waited for.
        limit: Duration,
    },
    /// Kernels complained, and by no list may they.
    #[error("{}{then}", Splat::named(.faults).join("; "))]
    KernelFaults {
        /// What they said, at least once.
        faults: Vec<Splat>,
        /// What else went wrong, probably by that: nothing, or a part of the line.
        then: String,
    },
    /// It was not tried, for this reason.
    #[error("skipped: {0}")]
    Skipped(String),
    /// Only a virtual machine can do this.
    #[error("node `{0}` is a host, and this takes a virtual machine: use a profile such as rxe")]
    Host(String),
    /// The supervisor refused or failed.
    #[error("{0}")]
    Supervisor(String),
    /// The cluster's supervisor went away during a request.
    #[error("the cluster's supervisor ended during the request")]
    SupervisorGone,
    /// The agent in a node, or the way to it, failed.
    #[error(transparent)]
    Agent(#[from] rapidswap_protocol::Error),
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The refusal.
        source: io::Error,
    },
}

impl Error {
    /// The node at which it went wrong, if it was one.
    pub fn node(&self) -> Option<&str> {
        match self {
            Error::Boot { node, .. }
            | Error::NodeGone { node, .. }
            | Error::Step { node, .. }
            | Error::Hangs { node, .. } => Some(node),
            Error::KernelFaults { faults, .. } => {
                let panic = faults.iter().find(|fault| fault.kind == SplatKind::Panic);
                let fault = panic.or(faults.first());
                fault.map(|fault| fault.node.as_str())
            }
            _ => None,
        }
    }
}

/// Names as they stand in a message.
pub(crate) fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// The option that names a cluster other than the default one.
fn named(name: &str) -> String {
    if name == crate::DEFAULT_NAME {
        String::new()
    } else {
        format!(" --name {name}")
    }
}

/// Adds to an operating-system error what was being done.
pub(crate) trait IoContext<T> {
    /// `what` as it stands before the colon in the message.
    fn what(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> IoContext<T> for std::result::Result<T, E> {
    fn what(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io {
            what: what(),
            source: source.into(),
        })
    }
}
