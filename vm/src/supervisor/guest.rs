//! One node as its supervisor sees it: a virtual machine, or a host.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Duration;

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use rapidswap_protocol::Agent;
use serde_json::json;

use super::children::{self, Children};
use super::fate::{Fate, fate, panicked};
use super::hardware::{self, Descriptors, Handed, machine, swap_disk};
use super::host::{self, Parcel};
use super::port::Port;
use super::settle::settle;
use super::{Event, HostPlan, NodePlan, Origin, Plan, saving, spawn};
use crate::console;
use crate::device::LINK;
use crate::error::{Error, IoContext, Result};
use crate::machine::printable;
use crate::outcome::Outcome;
use crate::qmp::{self, Qmp, Reboot};
use crate::request::Reply;
use crate::status::{Gone, NodeState, NodeStatus};
use crate::{sys, virtiofs};

/// How long a kernel that panics may take to say so on its console and to
/// restart. It takes milliseconds.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A running node.
pub(crate) struct Guest {
    pub(crate) name: String,
    plan: NodePlan,
    dir: PathBuf,
    pid: u32,
    port: Port,
    qmp: OnceLock<Qmp>,
    /// Kept until the control thread takes it.
    monitor: Mutex<Option<(UnixStream, Sender<Event>, usize)>>,
    /// What a host is sent first.
    parcel: Option<Arc<Parcel>>,
    agent: Mutex<Option<Agent>>,
    link_up: AtomicBool,
    /// Whether pvpanic reported a panic.
    panics: AtomicBool,
    state: Mutex<NodeState>,
    changed: Condvar,
}

impl Guest {
    /// Starts node `index` of the plan.
    pub(super) fn start(
        plan: &Plan,
        index: usize,
        run: &Path,
        children: &mut Children,
        events: &Sender<Event>,
    ) -> Result<Guest> {
        let node = &plan.nodes[index];
        let dir = run.join(&node.name);
        fs::create_dir(&dir).what(|| format!("cannot make {}", dir.display()))?;
        let (server, share) = virtiofs::spawn(&run.join("payload"), &run.join("payload.sock"))?;
        children.adopt_server(server, index, "its virtiofs server")?;

        let mut handed = Handed::default();
        let monitor = handed.socket()?;
        let port = handed.socket()?;
        let share = handed.keep(share.into());
        let swap = if node.swap_disk {
            Some(handed.keep(swap_disk(plan)?))
        } else {
            None
        };
        let machine = machine(
            plan,
            index,
            run,
            &Descriptors {
                monitor: monitor.1,
                port: port.1,
                share,
                swap,
            },
        );
        let args = machine.args();
        let write = fs::write(
            dir.join("qemu.txt"),
            printable(&plan.qemu.program.to_string_lossy(), &args),
        );
        write.what(|| format!("cannot write in {}", dir.display()))?;
        let mut command = Command::new(&plan.qemu.program);
        command.args(&args).env("TMPDIR", &plan.scratch);
        sys::tie(&mut command, &handed.numbers());
        let child = children::start(&mut command, &dir.join("qemu.log"))
            .what(|| format!("cannot start {}", plan.qemu.program.display()))?;
        let pid = child.id();
        children.adopt(child, index, "its QEMU")?;
        Ok(Guest {
            monitor: Mutex::new(Some((monitor.0, events.clone(), index))),
            ..Guest::new(node, dir, pid, port.0)
        })
    }

    /// Connects to node `index` of the plan, which is a host.
    pub(super) fn reach(
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
        Ok(Guest {
            parcel: Some(parcel),
            ..Guest::new(node, dir, pid, stream)
        })
    }

    fn new(node: &NodePlan, dir: PathBuf, pid: u32, stream: UnixStream) -> Guest {
        Guest {
            name: node.name.clone(),
            plan: node.clone(),
            dir,
            pid,
            port: Port::new(stream),
            link_up: AtomicBool::new(true),
            panics: AtomicBool::new(false),
            qmp: OnceLock::new(),
            monitor: Mutex::new(None),
            parcel: None,
            agent: Mutex::new(None),
            state: Mutex::new(NodeState::Booting),
            changed: Condvar::new(),
        }
    }

    /// Whether it is a host, which is there without this cluster.
    pub(super) fn is_host(&self) -> bool {
        self.plan.host.is_some()
    }

    /// Waits for QEMU, for the saved state if there is one, and for the agent.
    pub(super) fn attach(&self, origin: &Origin, deadline: Duration) -> Result<()> {
        let taken = self
            .monitor
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .take();
        if let Some((monitor, events, index)) = taken {
            let qmp = Qmp::start(monitor, move |event| {
                // The supervisor ends before its guests' sockets do.
                let _ = events.send(Event::Qmp(index, event));
            })?;
            let _ = self.qmp.set(qmp);
        }
        if let Some(parcel) = &self.parcel {
            let reached = parcel.send(self.port.stream());
            let reached = reached.what(|| "cannot send it the agent".into());
            // Its clock is its own: it does not settle. What ended the
            // connection says more than that it ended.
            return reached
                .and_then(|()| self.meet(deadline).map(drop))
                .inspect_err(|_| {
                    self.await_gone(Duration::from_secs(2));
                });
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
        settle(&self.meet(deadline)?)
    }

    /// Has its agent settle.
    pub(super) fn settle(&self) -> Result<()> {
        settle(&self.agent()?)
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

    /// QEMU's control channel.
    pub(crate) fn qmp(&self) -> Result<&Qmp> {
        if self.is_host() {
            return Err(Error::Host(self.name.clone()));
        }
        match (self.state(), self.qmp.get()) {
            (_, Some(qmp)) => Ok(qmp),
            (NodeState::Gone(gone), None) => Err(self.gone(gone)),
            (_, None) => Err(self.gone(not_booted())),
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

    /// Takes notice of what its QEMU says. Asks it nothing: the whole cluster
    /// waits for this.
    pub(super) fn observe(self: &Arc<Guest>, event: &qmp::Event) {
        let panics =
            || self.panics.load(Ordering::Relaxed) || console::panicked(&self.console());
        match fate(event, panics) {
            Some(Fate::Gone(gone)) => self.lost(gone),
            Some(Fate::Panics) => self.panics(),
            Some(Fate::Paused) => self.paused(),
            Some(Fate::Running) => self.running(),
            None => {}
        }
    }

    /// Lets its kernel have its last words, which end with its restart. One that
    /// does not come to that is stopped.
    fn panics(self: &Arc<Guest>) {
        self.panics.store(true, Ordering::Relaxed);
        let guest = Arc::clone(self);
        let waits = spawn("panic", move || {
            guest.await_gone(LAST_WORDS);
            // Neither one that has restarted by now, nor one that was reset.
            let gone = matches!(guest.state(), NodeState::Gone(_));
            if !gone && guest.panics.load(Ordering::Relaxed) {
                guest.lost(panicked());
                // One whose QEMU is gone as well does not run either.
                let _ = guest.qmp().and_then(Qmp::stop);
            }
        });
        // Without a thread there are no last words.
        if waits.is_err() {
            self.lost(panicked());
        }
    }

    /// Stops its processors. The state is right when this returns, not only
    /// when the event has been dealt with.
    pub(super) fn pause(&self) -> Result<()> {
        self.agent()?;
        self.qmp()?.stop()?;
        self.paused();
        Ok(())
    }

    /// Lets its processors go on.
    pub(super) fn resume(&self) -> Result<()> {
        self.agent()?;
        self.qmp()?.cont()?;
        self.running();
        Ok(())
    }

    /// Pulls its cable out, or plugs it in.
    pub(super) fn set_link(&self, up: bool) -> Result<()> {
        let arguments = json!({ "name": LINK, "up": up });
        self.qmp()?.execute("set_link", arguments)?;
        self.link_up.store(up, Ordering::Relaxed);
        Ok(())
    }

    /// Resets the machine and waits for its agent. A panicked one is good for
    /// this, one without a QEMU is not.
    pub(super) fn reset(&self, deadline: Duration) -> Result<()> {
        let qmp = self.qmp()?;
        let ready = qmp.reboot(Reboot::Resets);
        ready.map_err(|error| match self.state() {
            NodeState::Gone(gone) => self.gone(gone),
            _ => error,
        })?;
        self.port.cut();
        self.panics.store(false, Ordering::Relaxed);
        self.become_state(|_| Some(NodeState::Booting));
        let booted = qmp.reset().and_then(|()| self.greet(deadline));
        // Whether it came or not, the next reboot of its own is its end.
        let back = qmp.reboot(Reboot::Ends);
        booted.and(back).map_err(|error| {
            let gone = Gone {
                outcome: Outcome::BootFailed,
                reason: format!("it did not come back from a reset: {error}"),
            };
            self.lost(gone.clone());
            self.gone(gone)
        })?;
        self.become_state(|state| matches!(state, NodeState::Booting).then_some(NodeState::Up));
        Ok(())
    }

    /// Has a host that is still there be left as it was found, and waits for
    /// that.
    pub(super) fn leave(&self) -> Result<()> {
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

    /// Waits a while for it to be gone.
    fn await_gone(&self, limit: Duration) {
        let state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        let gone = |state: &mut NodeState| !matches!(state, NodeState::Gone(_));
        drop(self.changed.wait_timeout_while(state, limit, gone));
    }

    /// Waits until it is gone.
    pub(super) fn wait_gone(&self) {
        let state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        let gone = |state: &mut NodeState| !matches!(state, NodeState::Gone(_));
        drop(self.changed.wait_while(state, gone));
    }

    fn paused(&self) {
        self.become_state(|state| matches!(state, NodeState::Up).then_some(NodeState::Paused));
    }

    fn running(&self) {
        self.become_state(|state| matches!(state, NodeState::Paused).then_some(NodeState::Up));
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
            link_up: self.link_up.load(Ordering::Relaxed),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::plan;
    use serde_json::Value;
    use std::io::{BufRead, BufReader, Write};
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Instant;

    const SOON: Duration = Duration::from_secs(10);

    /// A QEMU that negotiates and then answers nothing. At the first command its
    /// processors stop, and its guest panics.
    fn silent_qemu(stream: UnixStream) {
        let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
        let mut next = || lines.next().expect("a line").expect("a request");
        let say = |text: Value| writeln!(&stream, "{text}").expect("a listener");
        let negotiation: Value = serde_json::from_str(&next()).expect("a request");
        say(json!({"return": {}, "id": negotiation["id"]}));
        next();
        say(json!({"event": "STOP"}));
        say(json!({"event": "GUEST_PANICKED"}));
        lines.for_each(drop);
    }

    #[test]
    fn what_a_qemu_says_is_seen_though_it_answers_nothing() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        thread::spawn(move || silent_qemu(theirs));
        let (port, _agent) = UnixStream::pair().expect("a pair");
        let node = &plan(1).nodes[0];
        let guest = Arc::new(Guest::new(node, "/nowhere".into(), 0, port));
        let (sender, events) = channel();
        let qmp = Qmp::start(ours, move |event| drop(sender.send(event))).expect("negotiated");
        assert!(guest.qmp.set(qmp).is_ok());
        let dumped = Arc::clone(&guest);
        thread::spawn(move || dumped.qmp()?.execute("dump-guest-memory", Value::Null));
        let started = Instant::now();
        let event = events.recv_timeout(SOON).expect("an event");
        assert_eq!(event, qmp::Event::GuestPanicked);
        guest.observe(&event);
        // Nor does it restart.
        guest.wait_gone();
        assert_eq!(guest.state(), NodeState::Gone(panicked()));
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    }
}
