//! The one process that owns a running cluster: its QEMUs, their control
//! channels, the agents' ports, the shares and the run directory. It has a
//! session of its own, ties every child to itself so that they die with it
//! however it dies, and answers commands on a unix socket.
//!
//! Whoever brings the cluster up holds a *lease*, a socket on the supervisor's
//! standard input: the plan arrives over it, and until it says `Commit` its
//! end is the end of the cluster. An interrupted `up` thus leaves nothing.

mod children;
mod fate;
mod faults;
mod guest;
mod hardware;
mod host;
mod plan;
mod port;
mod relay;
mod saving;
mod service;
mod settle;
mod switch;

use std::fs::File;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::cluster::programs;
use crate::cluster::request;
use crate::cluster::rundir::{self, RunDir};
use crate::cluster::status::{Gone, NodeState, Status};
use crate::error::{Error, IoContext, Result};
use crate::outcome::Outcome;
use crate::qemu::qmp;
use crate::sys;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::dup2;

use children::Children;
use faults::Links;
use guest::Guest;
use host::Parcel;
#[cfg(test)]
pub(crate) use plan::tests::plan;
pub(crate) use plan::{HostPlan, LeaseOrder, LeaseReport, NodePlan, Origin, Plan};

/// Name of the socket in the run directory.
pub(crate) const SOCKET: &str = "socket";

/// What happens to a cluster, in the order in which it is dealt with.
enum Event {
    /// A node's agent answered, or did not in time.
    Booted(usize, Result<(), String>),
    /// A child process ended.
    Ended(usize),
    /// A node's QEMU said something.
    Qmp(usize, qmp::Event),
    /// All nodes were saved, or not, and then went on, or did not.
    Saved(Result<Result<(), String>>),
    /// The holder of the lease said something.
    Lease(LeaseOrder),
    /// The holder of the lease is gone.
    LeaseEnded,
    /// A client asked for the end and waits for it.
    Down(UnixStream),
    /// A client wants a node's processes killed, and to know when they are.
    Kill(usize, Sender<()>),
    /// A signal asked for the end.
    Signal,
}

/// What the connections' threads share.
pub(crate) struct Shared {
    guests: Vec<Arc<Guest>>,
    links: Links,
    boot_deadline: Duration,
    events: Sender<Event>,
    status: Mutex<Status>,
}

impl Shared {
    /// The node of that name.
    fn known(&self, name: &str) -> Result<&Guest> {
        let mut guests = self.guests.iter();
        let guest = guests.find(|guest| guest.name == name);
        guest.map(Arc::as_ref).ok_or_else(|| {
            let known: Vec<_> = self
                .guests
                .iter()
                .map(|guest| guest.name.as_str())
                .collect();
            Error::UnknownNode {
                node: name.to_owned(),
                known: known.join(", "),
            }
        })
    }
}

/// Supervises a cluster until it is taken down. Runs in `rapidswap
/// __supervise`, on the process's main thread, which never ends before it.
pub fn run() -> anyhow::Result<()> {
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    // Before any thread starts, so that all of them inherit it.
    signals.thread_block()?;
    let lease = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let Some((LeaseOrder::Plan(plan), _)) = request::receive(&lease)? else {
        anyhow::bail!("no plan arrived");
    };
    if let Err(error) = supervise(&plan, &lease, signals) {
        // Gone, it does not want to know.
        let _ = request::send(&lease, &LeaseReport::of(error), &[]);
    }
    Ok(())
}

fn supervise(plan: &Plan, lease: &UnixStream, signals: SigSet) -> Result<()> {
    let run = RunDir::create(&plan.base, &plan.name)?;
    keep_log(run.path())?;
    let sweeper = Sweeper::start(run.path())?;
    let (sender, events) = channel();
    watch_signals(signals, sender.clone())?;
    let mut children = Children::new(sender.clone());
    let started = start(plan, run.path(), &mut children, &sender);
    let outcome = started.and_then(|shared| {
        watch_lease(lease, sender.clone())?;
        drop(sender);
        let client = dispatch(&shared, &mut children, lease, &events);
        // In this order: a client that is on its way out needs its server.
        let left: Vec<_> = shared.guests.iter().map(|guest| guest.leave()).collect();
        Ok((client?, left.into_iter().collect::<Result<()>>()))
    });
    children.end();
    drop(run);
    sweeper.end();
    // The client's connection ends with its answer; all is gone by now.
    let (client, left) = outcome?;
    if let Some(client) = client {
        let reply = match &left {
            Ok(()) => request::Reply::Done,
            Err(error) => request::Reply::Failed(error.to_string()),
        };
        let _ = request::send(&client, &reply, &[]);
    }
    left
}

/// Starts the nodes and answers commands.
fn start(
    plan: &Plan,
    run: &Path,
    children: &mut Children,
    events: &Sender<Event>,
) -> Result<Arc<Shared>> {
    let payload = run.join("payload");
    programs::assemble(&payload, &plan.programs, &plan.modules)?;
    let initrd = run.join("initrd.cpio");
    let agent = std::fs::read(&plan.agent).what(|| format!("{}", plan.agent.display()))?;
    std::fs::write(&initrd, rapidswap_agent::initramfs(&agent))
        .what(|| "cannot write the initrd".into())?;
    let names = plan.nodes.iter().map(|node| node.name.clone()).collect();
    let links = Links::new(run.to_owned(), names)?;
    let hosts = plan.nodes.iter().any(|node| node.host.is_some());
    let parcel = hosts.then(|| Parcel::pack(run, &payload, &plan.agent));
    let parcel = parcel.transpose()?.map(Arc::new);
    let mut guests = Vec::new();
    for (index, node) in plan.nodes.iter().enumerate() {
        guests.push(Arc::new(match (&node.host, &parcel) {
            (Some(host), Some(parcel)) => {
                Guest::reach(plan, index, host, Arc::clone(parcel), run, children)?
            }
            _ => Guest::start(plan, index, run, children, events)?,
        }));
    }
    let shared = Arc::new(Shared {
        guests,
        links,
        boot_deadline: Duration::from_secs(plan.boot_deadline_s),
        events: events.clone(),
        status: Mutex::new(plan.status(run)),
    });
    let deadline = shared.boot_deadline;
    for (index, guest) in shared.guests.iter().enumerate() {
        let (guest, events, origin) = (Arc::clone(guest), events.clone(), plan.origin.clone());
        spawn("attach", move || {
            let attached = guest.attach(&origin, deadline);
            let attached = attached.map_err(|error| error.to_string());
            let _ = events.send(Event::Booted(index, attached));
        })?;
    }
    let listener = UnixListener::bind(run.join(SOCKET)).what(|| "cannot make the socket".into())?;
    let (service, events) = (Arc::clone(&shared), events.clone());
    spawn("accept", move || {
        service::accept(&listener, &service, &events)
    })?;
    Ok(shared)
}

/// Deals with events until the cluster is to end; gives the client that waits
/// for the end, if one does.
fn dispatch(
    shared: &Shared,
    children: &mut Children,
    lease: &UnixStream,
    events: &Receiver<Event>,
) -> Result<Option<UnixStream>> {
    let mut booting = shared.guests.len();
    let (mut failed, mut committed) = (false, false);
    let report = |report: LeaseReport| {
        // The end of the lease is an event of its own.
        let _ = request::send(lease, &report, &[]);
    };
    // Never disconnected: the signal thread holds a sender for ever.
    while let Ok(event) = events.recv() {
        match event {
            Event::Booted(index, Ok(())) => {
                report(LeaseReport::Booted(shared.guests[index].name.clone()));
                booting -= 1;
                if booting == 0 {
                    report(LeaseReport::Ready);
                }
            }
            Event::Booted(index, Err(reason)) => shared.guests[index].lost(Gone {
                outcome: Outcome::BootFailed,
                reason,
            }),
            Event::Ended(child) => {
                let (node, reason) = children.reap(child);
                shared.guests[node].lost(Gone {
                    outcome: Outcome::InfrastructureFailed,
                    reason,
                });
            }
            Event::Kill(index, done) => {
                children.kill(index);
                shared.guests[index].lost(Gone {
                    outcome: Outcome::InfrastructureFailed,
                    reason: "it was killed on request".into(),
                });
                let _ = done.send(());
            }
            Event::Qmp(index, event) => shared.guests[index].observe(&event),
            Event::Lease(LeaseOrder::Save(dir)) => saving::start(shared, dir)?,
            Event::Saved(saved) => report(LeaseReport::Saved(saved?)),
            Event::Lease(LeaseOrder::Commit { up_s, link_s, swap }) => {
                committed = true;
                let mut status = shared.status.lock().unwrap_or_else(|e| e.into_inner());
                (status.up_s, status.link_s, status.swap) = (up_s, link_s, swap);
                drop(status);
                report(LeaseReport::Committed);
                // Whoever let go of the lease waits for its end, or for ours.
                let _ = lease.shutdown(Shutdown::Both);
            }
            Event::LeaseEnded if committed => {}
            Event::Lease(LeaseOrder::Plan(_)) | Event::LeaseEnded | Event::Signal => {
                return Ok(None);
            }
            Event::Down(client) => return Ok(Some(client)),
        }
        if failed || committed {
            continue;
        }
        for guest in &shared.guests {
            let NodeState::Gone(gone) = guest.state() else {
                continue;
            };
            failed = true;
            // What is left stays for as long as the lease: there is something
            // to look at.
            report(LeaseReport::of(guest.boot_error(gone.reason)));
            break;
        }
    }
    Ok(None)
}

/// What this process and its shares complain about goes to a file.
fn keep_log(run: &Path) -> Result<()> {
    let log = File::create(run.join("supervisor.log"));
    let log = log.what(|| format!("cannot write in {}", run.display()))?;
    dup2(log.as_raw_fd(), std::io::stderr().as_raw_fd())
        .map(drop)
        .what(|| "cannot redirect the error output".into())
}

fn watch_lease(lease: &UnixStream, events: Sender<Event>) -> Result<()> {
    let lease = lease.try_clone().what(|| "cannot share the lease".into())?;
    spawn("lease", move || {
        while let Ok(Some((order, _))) = request::receive(&lease) {
            if events.send(Event::Lease(order)).is_err() {
                return;
            }
        }
        let _ = events.send(Event::LeaseEnded);
    })
}

fn watch_signals(signals: SigSet, events: Sender<Event>) -> Result<()> {
    spawn("signals", move || {
        while signals.wait().is_ok() {
            if events.send(Event::Signal).is_err() {
                return;
            }
        }
    })
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(body);
    thread.map(drop).what(|| "cannot start a thread".into())
}

/// A process outside this session which removes the run directory should this
/// one be killed: the kernel kills the other children, but removes no files.
struct Sweeper {
    child: std::process::Child,
}

impl Sweeper {
    fn start(run: &Path) -> Result<Sweeper> {
        let mut command = Command::new("/proc/self/exe");
        // The pipe's other end is open in this process only.
        command.arg("__sweep").arg(run).stdin(Stdio::piped());
        sys::detach(&mut command);
        let child = command.spawn().what(|| "cannot start the sweeper".into())?;
        Ok(Sweeper { child })
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        // It has nothing to do, as the directory is gone.
        let _ = self.child.wait();
    }
}

/// Removes `run` when the process at the other end of standard input has
/// ended. Runs in `rapidswap __sweep`.
pub fn sweep(run: &Path) {
    // Nothing is ever written; an error is an end as well.
    let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    rundir::remove_after_owner(run);
}
