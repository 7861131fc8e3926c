//! What is done to a node that is a host.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::{Body, Guest};
use crate::cluster::status::NodeState;
use crate::console;
use crate::error::{Error, IoContext, Result};
use crate::supervisor::children::Children;
use crate::supervisor::host::{self, Parcel};
use crate::supervisor::{HostPlan, Plan};

impl Guest {
    /// Connects to node `index` of the plan, which is a host.
    pub(in crate::supervisor) fn reach(
        plan: &Plan,
        index: usize,
        host: &HostPlan,
        parcel: Arc<Parcel>,
        run: &Path,
        children: &mut Children,
    ) -> Result<Guest> {
        let node = &plan.nodes[index];
        let dir = run.join(&node.name);
        fs::create_dir(&dir).what(|| format!("cannot make {}", dir.display()))?;
        let (child, stream) = host::start(host, node, plan, &parcel, &dir)?;
        let pid = child.id();
        children.adopt(child, index, "its ssh")?;
        Ok(Guest::new(node, dir, pid, stream, Body::Host(parcel)))
    }

    /// Sends what it is to run, and waits for the agent. Its clock is its own:
    /// it does not settle.
    pub(super) fn send(&self, parcel: &Parcel, deadline: Duration) -> Result<()> {
        let sent = parcel.send(self.port.stream());
        let sent = sent.what(|| "cannot send it the agent".into());
        // What ended the connection says more than that it ended.
        sent.and_then(|()| self.meet(deadline).map(drop))
            .inspect_err(|_| {
                self.await_gone(Duration::from_secs(2));
            })
    }

    /// Has a host that is still there be left as it was found, and waits for
    /// that.
    pub(in crate::supervisor) fn leave(&self) -> Result<()> {
        if !self.is_host() || matches!(self.state(), NodeState::Gone(_)) {
            return Ok(());
        }
        self.port.cut();
        let left = host::leave(self.port.stream());
        let failed = |why: &str| {
            let name = &self.name;
            Error::Supervisor(format!("node `{name}` was not left as it was found: {why}"))
        };
        left.map_err(|error| failed(&format!("no end of its ssh: {error}")))?;
        // Who started it reaps it.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(Pid::from_raw(self.pid as i32)), flags) {
            Ok(WaitStatus::Exited(_, 0)) => Ok(()),
            _ => Err(failed(&console::tail(&self.dir.join(host::LOG)).join("; "))),
        }
    }
}
