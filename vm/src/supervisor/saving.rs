//! Saves the nodes of a cluster to files, and restores nodes from them.
//!
//! A file is in QEMU's `mapped-ram` format: a page of the machine's memory has
//! its own place in it, and one that holds only zeroes takes no room and no
//! time. It holds memory and devices and nothing of the disks, so it is good
//! only for disks on which nothing was written yet.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::guest::Guest;
use super::{Event, Shared, spawn};
use crate::error::{Error, Result};
use crate::qemu::qmp::Qmp;
use crate::wait::wait_until;

/// How long the memory of a node may take to or from its file, on a disk that
/// others use as well.
const TRANSFER: Duration = Duration::from_secs(60);

/// A restored agent, which runs already, may take this part of a boot's time
/// to answer.
pub(super) const PART: u32 = 6;

/// Saves all nodes in `dir` and lets them go on; what came of it is an event.
pub(super) fn start(shared: &Shared, dir: PathBuf) -> Result<()> {
    let (guests, events) = (shared.guests.clone(), shared.events.clone());
    let deadline = shared.boot_deadline;
    spawn("save", move || {
        let _ = events.send(Event::Saved(save(&guests, &dir, deadline)));
    })
}

/// The outer error is of nodes that do not go on, in their time.
fn save(guests: &[Arc<Guest>], dir: &Path, deadline: Duration) -> Result<Result<(), String>> {
    // At the same time, so that none waits for one that stands still.
    let stopped = guests.iter().try_for_each(|guest| guest.qmp()?.stop());
    let saved = stopped.and_then(|()| each(guests, |guest| store(guest, dir)));
    each(guests, |guest| {
        guest.qmp()?.cont()?;
        guest.settle(deadline)
    })?;
    Ok(saved.map_err(|error| error.to_string()))
}

/// Does something to all guests at once; gives the first error.
fn each(guests: &[Arc<Guest>], act: impl Fn(&Guest) -> Result<()> + Sync) -> Result<()> {
    thread::scope(|scope| {
        let acting: Vec<_> = guests
            .iter()
            .map(|guest| scope.spawn(|| act(guest)))
            .collect();
        let mut acting = acting.into_iter();
        acting.try_for_each(|thread| thread.join().unwrap_or(Err(Error::SupervisorGone)))
    })
}

/// Writes a stopped node to its file in `dir`.
fn store(guest: &Guest, dir: &Path) -> Result<()> {
    let qmp = guest.qmp()?;
    prepare(qmp)?;
    // It would keep to a rate fit for a network.
    qmp.execute("migrate-set-parameters", json!({ "max-bandwidth": 0 }))?;
    qmp.execute("migrate", json!({ "uri": uri(&dir.join(&guest.name)) }))?;
    finish(qmp, "save")
}

/// Restores a node from its file and lets it run.
pub(super) fn load(qmp: &Qmp, file: &Path) -> Result<()> {
    prepare(qmp)?;
    qmp.execute("migrate-incoming", json!({ "uri": uri(file) }))?;
    finish(qmp, "restore")?;
    qmp.cont()
}

/// Chooses the format.
fn prepare(qmp: &Qmp) -> Result<()> {
    let mapped = json!([{ "capability": "mapped-ram", "state": true }]);
    let arguments = json!({ "capabilities": mapped });
    qmp.execute("migrate-set-capabilities", arguments).map(drop)
}

fn uri(file: &Path) -> String {
    format!("file:{}", file.display())
}

/// Waits for the end of a transfer.
fn finish(qmp: &Qmp, what: &str) -> Result<()> {
    let failed = |reason: &str| Error::Supervisor(format!("QEMU did not {what} it: {reason}"));
    let done = wait_until(TRANSFER, || {
        let state = qmp.execute("query-migrate", Value::Null)?;
        match state["status"].as_str() {
            Some("completed") => Ok(Some(())),
            Some("failed" | "cancelled") => {
                Err(failed(state["error-desc"].as_str().unwrap_or("no reason")))
            }
            _ => Ok(None),
        }
    })?;
    done.ok_or_else(|| failed(&format!("it took longer than {} s", TRANSFER.as_secs())))
}
