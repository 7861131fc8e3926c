//! The hold on a cluster of whoever brings it up.

use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use rapidswap_progress::{Reporter, Step};

use crate::cluster::Cluster;
use crate::cluster::node::{unexpected, unsent};
use crate::cluster::programs;
use crate::cluster::request;
use crate::collect;
use crate::error::{Error, IoContext, Result};
use crate::supervisor::{LeaseOrder, LeaseReport, Plan};
use crate::sys;

/// The leases this process holds, for [`abandon`].
static HELD: Mutex<Vec<UnixStream>> = Mutex::new(Vec::new());

/// A cluster ends with its lease, unless that is committed.
pub(crate) struct Lease {
    stream: UnixStream,
    name: String,
}

impl Lease {
    /// Starts a supervisor with a plan.
    pub(crate) fn start(plan: Plan) -> Result<Lease> {
        let (ours, theirs) = UnixStream::pair().what(|| "cannot make a socket".into())?;
        let mut command = Command::new(programs::rapidswap()?);
        command.arg("__supervise").current_dir("/");
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        sys::detach(&mut command);
        let mut child = command
            .spawn()
            .what(|| "cannot start the supervisor".into())?;
        // The command holds the other end too, which has to end with the
        // supervisor.
        drop(command);
        // It may end long after this, and is reaped then.
        thread::spawn(move || child.wait());
        let held = ours.try_clone().what(|| "cannot share a socket".into())?;
        HELD.lock().unwrap_or_else(|e| e.into_inner()).push(held);
        let lease = Lease {
            stream: ours,
            name: plan.name.clone(),
        };
        lease.say(&LeaseOrder::Plan(Box::new(plan)))?;
        Ok(lease)
    }

    /// Waits until all nodes are up.
    pub(crate) fn ready(&self, step: &Step, nodes: usize) -> Result<()> {
        let mut booted = 0;
        loop {
            match self.hear()? {
                LeaseReport::Booted(node) => {
                    booted += 1;
                    step.fraction(booted as f64 / nodes as f64);
                    step.message(&format!("{node} is up"));
                }
                LeaseReport::Ready => return Ok(()),
                other => return Err(self.failed(other)),
            }
        }
    }

    /// Saves the nodes in `dir` and lets them go on, saved or not; gives the
    /// reason if they are not.
    pub(crate) fn save(&self, dir: &Path) -> Result<Result<(), String>> {
        self.say(&LeaseOrder::Save(dir.to_owned()))?;
        match self.hear()? {
            LeaseReport::Saved(saved) => Ok(saved),
            other => Err(self.failed(other)),
        }
    }

    /// Leaves the cluster running.
    pub(crate) fn commit(self, up_s: f64, link_s: f64, swap: bool) -> Result<()> {
        self.say(&LeaseOrder::Commit { up_s, link_s, swap })?;
        match self.hear()? {
            LeaseReport::Committed => Ok(()),
            other => Err(self.failed(other)),
        }
    }

    /// Leaves the cluster running though it is not what it was to be. Nodes that
    /// boot late, or fail as well, are no news.
    fn keep(&self) -> Result<()> {
        self.say(&LeaseOrder::Commit {
            up_s: 0.0,
            link_s: 0.0,
            swap: false,
        })?;
        loop {
            match self.hear()? {
                LeaseReport::Committed => return Ok(()),
                LeaseReport::Booted(_) | LeaseReport::BootFailed { .. } => {}
                other => return Err(self.failed(other)),
            }
        }
    }

    /// Goes on if what comes next was done. Else what can be had of the cluster
    /// is collected, and if it is to be kept it stays, for somebody to look at.
    pub(crate) fn or_keep(
        self,
        done: Result<()>,
        keep: bool,
        reporter: &Reporter,
    ) -> Result<Lease> {
        match done {
            Ok(()) => Ok(self),
            Err(error) => {
                collect::keep_failure(&Cluster::named(&self.name), &self.name, reporter);
                if let Some(Err(lost)) = keep.then(|| self.keep()) {
                    reporter.note(&format!("the cluster cannot be kept: {lost}"));
                }
                Err(error)
            }
        }
    }

    fn say(&self, order: &LeaseOrder) -> Result<()> {
        request::send(&self.stream, order, &[]).map_err(unsent)
    }

    fn hear(&self) -> Result<LeaseReport> {
        match request::receive(&self.stream) {
            Ok(Some((report, _))) => Ok(report),
            Ok(None) => Err(Error::SupervisorGone),
            Err(error) => Err(unexpected(&error)),
        }
    }

    fn failed(&self, report: LeaseReport) -> Error {
        match report {
            LeaseReport::AlreadyUp => Error::AlreadyUp(self.name.clone()),
            LeaseReport::BootFailed { node, reason, tail } => Error::Boot { node, reason, tail },
            LeaseReport::Failed(reason) => Error::Supervisor(reason),
            LeaseReport::Booted(_)
            | LeaseReport::Ready
            | LeaseReport::Saved(_)
            | LeaseReport::Committed => {
                Error::Supervisor("the supervisor reported out of turn".into())
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        give_up(&self.stream);
        HELD.lock().unwrap_or_else(|e| e.into_inner()).clear();
    }
}

/// Ends the clusters which this process is bringing up just now, and waits
/// until they are gone. For whoever is interrupted.
pub fn abandon() {
    for stream in HELD.lock().unwrap_or_else(|e| e.into_inner()).drain(..) {
        give_up(&stream);
    }
}

/// A committed cluster takes no notice; the others end, and the supervisor's
/// end of the socket with them.
fn give_up(stream: &UnixStream) {
    let _ = stream.shutdown(Shutdown::Write);
    let mut rest = stream;
    let _ = io::copy(&mut rest, &mut io::sink());
}
