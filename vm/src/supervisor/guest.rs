//! One node as its supervisor sees it: a virtual machine, or a host. What both
//! have is here.

mod reached;
mod vm;

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rapidswap_protocol::Agent;

use super::host::{self, Parcel};
use super::port::Port;
use super::settle::settle;
use super::{NodePlan, Origin, hardware, saving};
use crate::cluster::request::Reply;
use crate::cluster::status::{Gone, NodeState, NodeStatus};
use crate::console;
use crate::error::{Error, IoContext, Result};
use crate::outcome::Outcome;
use crate::wait::within;
use vm::Vm;

/// What a node is.
enum Body {
    Vm(Vm),
    /// A host, with what it is sent first.
    Host(Arc<Parcel>),
}

/// A running node.
pub(crate) struct Guest {
    pub(crate) name: String,
    plan: NodePlan,
    dir: PathBuf,
    pid: u32,
    port: Port,
    body: Body,
    agent: Mutex<Option<Agent>>,
    state: Mutex<NodeState>,
    changed: Condvar,
}

impl Guest {
    fn new(node: &NodePlan, dir: PathBuf, pid: u32, stream: UnixStream, body: Body) -> Guest {
        Guest {
            name: node.name.clone(),
            plan: node.clone(),
            dir,
            pid,
            port: Port::new(stream),
            body,
            agent: Mutex::new(None),
            state: Mutex::new(NodeState::Booting),
            changed: Condvar::new(),
        }
    }

    /// Whether it is a host, which is there without this cluster.
    pub(super) fn is_host(&self) -> bool {
        matches!(self.body, Body::Host(_))
    }

    /// Waits for QEMU, for the saved state if there is one, and for the agent.
    pub(super) fn attach(&self, origin: &Origin, deadline: Duration) -> Result<()> {
        match &self.body {
            Body::Vm(vm) => vm.negotiate()?,
            Body::Host(parcel) => return self.send(parcel, deadline),
        }
        match origin {
            Origin::Boot => self.greet(deadline),
            Origin::BootToSave => self.meet(deadline).map(drop),
            Origin::State(dir) => {
                saving::load(self.qmp()?, &dir.join(&self.name))?;
                self.greet(deadline / saving::PART)
            }
        }
    }

    /// Waits for the agent, and has it settle.
    fn greet(&self, deadline: Duration) -> Result<()> {
        self.meet(deadline)?;
        self.settle(deadline)
    }

    /// Has its agent settle.
    pub(super) fn settle(&self, limit: Duration) -> Result<()> {
        let agent = self.agent()?;
        within(limit, move || settle(&agent)).unwrap_or_else(|| {
            Err(Error::Hangs {
                node: self.name.clone(),
                what: "setting its clock".to_owned(),
                limit,
            })
        })
    }

    /// Waits for the agent.
    fn meet(&self, deadline: Duration) -> Result<Agent> {
        let (reader, writer) = self.port.connect()?;
        let agent = Agent::attach(reader, writer, deadline)?;
        // What it had to do without.
        let log = self.dir.join("agent.log");
        let written = fs::write(&log, &agent.hello().notes);
        written.what(|| format!("cannot write {}", log.display()))?;
        if self.is_host() {
            let token = format!("rapidswap: node {} begins as {:?}", self.name, agent);
            host::follow(agent.clone(), &self.console(), &token)?;
        }
        *self.agent.lock().unwrap_or_else(|e| e.into_inner()) = Some(agent.clone());
        self.become_state(|state| matches!(state, NodeState::Booting).then_some(NodeState::Up));
        Ok(agent)
    }

    /// How it is just now.
    pub(crate) fn state(&self) -> NodeState {
        self.state.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// The agent, while there is one.
    pub(crate) fn agent(&self) -> Result<Agent> {
        let agent = self.agent.lock().unwrap_or_else(|e| e.into_inner()).clone();
        match (self.state(), agent) {
            (NodeState::Gone(gone), _) => Err(self.gone(gone)),
            (NodeState::Up | NodeState::Paused, Some(agent)) => Ok(agent),
            _ => Err(self.gone(not_booted())),
        }
    }

    fn gone(&self, gone: Gone) -> Error {
        Error::NodeGone {
            node: self.name.clone(),
            outcome: gone.outcome,
            reason: gone.reason,
            tail: String::new(),
        }
    }

    /// What a client is told of a node that is gone.
    pub(crate) fn gone_reply(&self, gone: Gone) -> Reply {
        Reply::NodeGone {
            node: self.name.clone(),
            outcome: gone.outcome,
            reason: format!("{}; see {}", gone.reason, self.console().display()),
            tail: self.tail(),
        }
    }

    /// Why the agent's stream broke: the reason may be a moment behind.
    pub(crate) fn why_gone(&self) -> Gone {
        let state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        let waited = self
            .changed
            .wait_timeout_while(state, Duration::from_secs(2), |state| {
                !matches!(state, NodeState::Gone(_) | NodeState::Booting)
            });
        match &*waited.unwrap_or_else(|e| e.into_inner()).0 {
            NodeState::Gone(gone) => gone.clone(),
            state => Gone {
                outcome: Outcome::InfrastructureFailed,
                reason: match state {
                    NodeState::Booting => "it was reset".to_owned(),
                    _ => "its agent's connection broke".to_owned(),
                },
            },
        }
    }

    /// It will not come back: what waits for its agent, or for its console,
    /// ends now.
    pub(super) fn lost(&self, gone: Gone) {
        self.become_state(|state| match state {
            // The first reason is the cause of the others.
            NodeState::Gone(_) => None,
            _ => Some(NodeState::Gone(gone)),
        });
        self.port.cut();
        console::touch(&self.console());
    }

    /// Waits a while for it to be gone, and says whether it is.
    fn await_gone(&self, limit: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        let there = |state: &mut NodeState| !matches!(state, NodeState::Gone(_));
        let waited = self.changed.wait_timeout_while(state, limit, there);
        !waited.unwrap_or_else(|e| e.into_inner()).1.timed_out()
    }

    fn become_state(&self, next: impl FnOnce(&NodeState) -> Option<NodeState>) {
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(next) = next(&state) {
            *state = next;
            self.changed.notify_all();
        }
    }

    /// The error of an `up` that this node made fail.
    pub(super) fn boot_error(&self, reason: String) -> Error {
        Error::Boot {
            node: self.name.clone(),
            reason,
            tail: self.tail(),
        }
    }

    /// The last of its console, and QEMU's own complaint if it had one.
    fn tail(&self) -> String {
        let mut tail = console::tail(&self.console());
        for log in ["qemu.log", host::LOG] {
            tail.extend(console::tail(&self.dir.join(log)));
        }
        tail.iter().flat_map(|line| ["\n  ", line]).collect()
    }

    fn console(&self) -> PathBuf {
        self.dir.join(console::FILE)
    }

    /// This node's part of a status.
    pub(super) fn status(&self) -> NodeStatus {
        NodeStatus {
            name: self.name.clone(),
            state: self.state(),
            link_up: match &self.body {
                Body::Vm(vm) => vm.link_up(),
                Body::Host(_) => true,
            },
            address: self.plan.address.clone(),
            memory_mib: self.plan.memory_mib,
            pid: self.pid,
            console: self.console(),
            command_line: self.dir.join(match self.is_host() {
                true => host::COMMAND_LINE,
                false => "qemu.txt",
            }),
            swap_area: self.plan.swap_disk.then(|| match self.is_host() {
                true => host::SWAP.into(),
                false => hardware::SWAP.into(),
            }),
        }
    }
}

/// Why nothing can be asked of a node that boots.
fn not_booted() -> Gone {
    Gone {
        outcome: Outcome::BootFailed,
        reason: "it has not booted yet".to_owned(),
    }
}
