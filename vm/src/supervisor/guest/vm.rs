//! What is done to a node that is a virtual machine.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde_json::json;

use super::{Body, Guest, not_booted};
use crate::cluster::status::{Gone, NodeState};
use crate::console;
use crate::error::{Error, IoContext, Result};
use crate::outcome::Outcome;
use crate::qemu::device::LINK;
use crate::qemu::machine::printable;
use crate::qemu::qmp::{self, Qmp, Reboot};
use crate::qemu::virtiofs;
use crate::supervisor::children::{self, Children};
use crate::supervisor::fate::{Fate, fate, panicked};
use crate::supervisor::hardware::{Descriptors, Handed, machine, swap_disk};
use crate::supervisor::{Event, Plan, spawn};
use crate::sys;

/// How long a kernel that panics may take to say so on its console and to
/// restart. It takes milliseconds.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What only a virtual machine has.
pub(super) struct Vm {
    qmp: OnceLock<Qmp>,
    /// Kept until the control thread takes it.
    monitor: Mutex<Option<(UnixStream, Sender<Event>, usize)>>,
    link_up: AtomicBool,
    /// Whether pvpanic reported a panic.
    panics: AtomicBool,
}

impl Vm {
    /// One of which QEMU's side of the monitor is still to be heard. What it
    /// says goes to `events`, with the node's index.
    fn new(monitor: UnixStream, events: Sender<Event>, index: usize) -> Vm {
        Vm {
            qmp: OnceLock::new(),
            monitor: Mutex::new(Some((monitor, events, index))),
            link_up: AtomicBool::new(true),
            panics: AtomicBool::new(false),
        }
    }

    /// Waits for QEMU.
    pub(super) fn negotiate(&self) -> Result<()> {
        let mut monitor = self.monitor.lock().unwrap_or_else(|e| e.into_inner());
        if let Some((monitor, events, index)) = monitor.take() {
            let qmp = Qmp::start(monitor, move |event| {
                // The supervisor ends before its guests' sockets do.
                let _ = events.send(Event::Qmp(index, event));
            })?;
            let _ = self.qmp.set(qmp);
        }
        Ok(())
    }

    /// Whether its cable is plugged in.
    pub(super) fn link_up(&self) -> bool {
        self.link_up.load(Ordering::Relaxed)
    }

    fn panics(&self) -> bool {
        self.panics.load(Ordering::Relaxed)
    }
}

impl Guest {
    /// Starts node `index` of the plan.
    pub(in crate::supervisor) fn start(
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
        let vm = Vm::new(monitor.0, events.clone(), index);
        Ok(Guest::new(node, dir, pid, port.0, Body::Vm(vm)))
    }

    fn vm(&self) -> Result<&Vm> {
        match &self.body {
            Body::Vm(vm) => Ok(vm),
            Body::Host(_) => Err(Error::Host(self.name.clone())),
        }
    }

    /// QEMU's control channel.
    pub(crate) fn qmp(&self) -> Result<&Qmp> {
        match (self.vm()?.qmp.get(), self.state()) {
            (Some(qmp), _) => Ok(qmp),
            (None, NodeState::Gone(gone)) => Err(self.gone(gone)),
            (None, _) => Err(self.gone(not_booted())),
        }
    }

    /// Takes notice of what its QEMU says. Asks it nothing: the whole cluster
    /// waits for this.
    pub(in crate::supervisor) fn observe(self: &Arc<Guest>, event: &qmp::Event) {
        let told = || self.vm().is_ok_and(Vm::panics);
        match fate(event, || told() || console::panicked(&self.console())) {
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
        if let Ok(vm) = self.vm() {
            vm.panics.store(true, Ordering::Relaxed);
        }
        let guest = Arc::clone(self);
        let waits = spawn("panic", move || {
            // Neither one that has restarted by then, nor one that was reset.
            if !guest.await_gone(LAST_WORDS) && guest.vm().is_ok_and(Vm::panics) {
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
    pub(in crate::supervisor) fn pause(&self) -> Result<()> {
        self.agent()?;
        self.qmp()?.stop()?;
        self.paused();
        Ok(())
    }

    /// Lets its processors go on.
    pub(in crate::supervisor) fn resume(&self) -> Result<()> {
        self.agent()?;
        self.qmp()?.cont()?;
        self.running();
        Ok(())
    }

    /// Pulls its cable out, or plugs it in.
    pub(in crate::supervisor) fn set_link(&self, up: bool) -> Result<()> {
        let arguments = json!({ "name": LINK, "up": up });
        self.qmp()?.execute("set_link", arguments)?;
        self.vm()?.link_up.store(up, Ordering::Relaxed);
        Ok(())
    }

    /// Resets the machine and waits for its agent. A panicked one is good for
    /// this, one without a QEMU is not.
    pub(in crate::supervisor) fn reset(&self, deadline: Duration) -> Result<()> {
        let qmp = self.qmp()?;
        let ready = qmp.reboot(Reboot::Resets);
        ready.map_err(|error| match self.state() {
            NodeState::Gone(gone) => self.gone(gone),
            _ => error,
        })?;
        self.port.cut();
        self.vm()?.panics.store(false, Ordering::Relaxed);
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

    fn paused(&self) {
        self.become_state(|state| matches!(state, NodeState::Up).then_some(NodeState::Paused));
    }

    fn running(&self) {
        self.become_state(|state| matches!(state, NodeState::Paused).then_some(NodeState::Up));
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
        let (sender, events) = channel();
        let vm = Vm::new(ours, sender, 0);
        vm.negotiate().expect("negotiated");
        let guest = Arc::new(Guest::new(node, "/nowhere".into(), 0, port, Body::Vm(vm)));
        let dumped = Arc::clone(&guest);
        thread::spawn(move || dumped.qmp()?.execute("dump-guest-memory", Value::Null));
        let started = Instant::now();
        let event = events.recv_timeout(SOON).expect("an event");
        assert!(matches!(event, Event::Qmp(0, qmp::Event::GuestPanicked)));
        guest.observe(&qmp::Event::GuestPanicked);
        // Nor does it restart.
        assert!(guest.await_gone(SOON));
        assert_eq!(guest.state(), NodeState::Gone(panicked()));
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    }
}
