//! The RDMA link between the nodes: brought up and proved by `rxe-setup`,
//! which runs in both of them, before anything is built on it.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rapidswap_progress::Reporter;
use rapidswap_protocol::Exec;
use serde_json::Value;

use crate::cluster::kernels::NodeKernel;
use crate::cluster::node::{Node, STEP};
use crate::cluster::profile::{Address, Profile};
use crate::error::{Error, Result};

/// Where the payload's programs are in a node.
pub(crate) const RXE_SETUP: &str = "/rapidswap/bin/rxe-setup";

/// Longest time one half of the proof may take between adapters, connecting
/// included.
const DEADLINE: Duration = Duration::from_secs(15);

/// The same for a page that is moved to see whether the link is still there.
const CHECK_DEADLINE: Duration = Duration::from_secs(20);

/// Port of the first two nodes that hold a connection.
const HOLD_PORT: u16 = 9450;

/// What nodes are asked.
const PROVING: &str = "proving the link";
const HOLDING: &str = "preparing a check of the link";
const CHECKING: &str = "checking the link";

/// A node and its address on the link.
pub(crate) type End = (Node, Address);

/// Brings the link up on all nodes and has each two of them move random bytes
/// through the other's memory.
pub(crate) fn prove(
    ends: &[End],
    profile: &Profile,
    kernel: &NodeKernel,
    reporter: &Reporter,
) -> Result<()> {
    let deadline = profile.scaled(DEADLINE) * kernel.patience();
    let pairs = pairs(ends);
    let step = reporter.step(
        "link proof",
        Duration::from_secs(1) + Duration::from_secs(1) * pairs.len() as u32,
    );
    together(ends, |(node, address)| set_up(node, profile, *address))?;
    let mut total = Moved::default();
    let mut notes = Vec::new();
    // One after the other, since each node listens on one port.
    for (done, (near, far)) in pairs.iter().enumerate() {
        step.fraction(done as f64 / pairs.len() as f64);
        let sides = [(near, "--connect"), (far, "--listen")];
        let proofs = together(&sides, |(end, role)| {
            prove_half(&end.0, role, far.1, deadline)
        })?;
        for ((end, _), proof) in sides.iter().zip(&proofs) {
            total.add(proof);
            let device = proof["device"].as_str().unwrap_or("no device");
            notes.push(format!("{} {device}: {}", end.0.name(), counters(proof)));
        }
    }
    step.done(&format!(
        "{} READs and {} WRITEs, {} bytes compared, {} wrong",
        total.reads, total.writes, total.compared, total.bad
    ));
    // What each node has counted in the end.
    for (node, _) in ends {
        let of = |note: &&String| note.starts_with(&format!("{} ", node.name()));
        if let Some(note) = notes.iter().rfind(of) {
            reporter.note(note);
        }
    }
    Ok(())
}

/// Has each two nodes connect, move a page and stay connected, so that a check of
/// them, saved and restored, needs neither a program nor a connection that is new.
pub(crate) fn hold(ends: &[End], kernel: &NodeKernel) -> Result<()> {
    let deadline = CHECK_DEADLINE * kernel.patience();
    let seconds = deadline.as_secs().to_string();
    for (index, (near, far)) in pairs(ends).into_iter().enumerate() {
        let reports = reports(&far.0);
        let mkfifo = ["mkfifo"]
            .into_iter()
            .chain(reports.iter().map(String::as_str));
        near.0.run(HOLDING, mkfifo)?;
        // Of each pair another: the one before may have yet to stop listening.
        let address = format!("{}:{}", far.1.ip, HOLD_PORT + index as u16);
        let half = [RXE_SETUP, "hold", "--deadline", &seconds];
        let stand_by = half.into_iter().chain(["--listen", &address]);
        let ask = half.into_iter().chain(["--connect", &address, "--reports"]);
        let ask = ask.chain(reports.iter().map(String::as_str));
        let (stand_by, ask) = (Exec::new(stand_by).detach(), Exec::new(ask).detach());
        far.0.step(HOLDING, |far| far.spawn(stand_by))?;
        near.0.step(HOLDING, |near| near.spawn(ask))?;
        moved(&near.0, &reports[0], deadline)?;
    }
    Ok(())
}

/// Has each two nodes that [`hold`] a connection move a page over it.
pub(crate) fn check(ends: &[End], kernel: &NodeKernel, reporter: &Reporter) -> Result<()> {
    let deadline = CHECK_DEADLINE * kernel.patience();
    let step = reporter.step("link check", Duration::from_millis(200));
    for (near, far) in pairs(ends) {
        moved(&near.0, &reports(&far.0)[1], deadline)?;
    }
    step.done("a READ and a WRITE each way");
    Ok(())
}

/// Where the near end of a pair says what the first page that it moved and what the
/// second showed.
fn reports(far: &Node) -> [String; 2] {
    ["first", "second"].map(|round| format!("/run/rapidswap-{round}-page-{}", far.name()))
}

/// Reads one of these, and so has a page moved. It takes no program that a restored
/// node would run for the first time.
fn moved(near: &Node, report: &str, deadline: Duration) -> Result<()> {
    let path = PathBuf::from(report);
    // Twice, since nobody tells when what it waits for is itself gone.
    let said = near.within(CHECKING, 2 * deadline, move |near| {
        let mut said = Vec::new();
        near.pull(&path, &mut said)?;
        Ok(said)
    })?;
    let said = String::from_utf8_lossy(&said);
    let report = report_in(near, CHECKING, &said)?;
    match report["ok"].as_bool() {
        Some(true) => Ok(()),
        _ => Err(Error::Step {
            what: CHECKING.into(),
            node: near.name().into(),
            detail: format!("{} wrong bytes", report["bad_bytes"]),
        }),
    }
}

/// Each two of them.
fn pairs(ends: &[End]) -> Vec<(&End, &End)> {
    (0..ends.len())
        .flat_map(|near| (near + 1..ends.len()).map(move |far| (&ends[near], &ends[far])))
        .collect()
}

/// Does something with all of them at once. Of those that failed one that is gone
/// or hangs says why, else the first, since others may only have waited for it.
fn together<T: Sync, R: Send>(all: &[T], act: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    thread::scope(|scope| {
        let running: Vec<_> = all.iter().map(|one| scope.spawn(|| act(one))).collect();
        let ended = running.into_iter().map(|one| one.join());
        let (done, failed): (Vec<_>, Vec<_>) = ended
            .map(|one| one.unwrap_or(Err(Error::SupervisorGone)))
            .partition(|one| one.is_ok());
        let is_cause =
            |error: &Error| matches!(error, Error::NodeGone { .. } | Error::Hangs { .. });
        let mut failed: Vec<_> = failed.into_iter().filter_map(Result::err).collect();
        match failed.iter().position(is_cause) {
            Some(cause) => Err(failed.swap_remove(cause)),
            None if !failed.is_empty() => Err(failed.swap_remove(0)),
            None => done.into_iter().collect(),
        }
    })
}

/// What the proofs of all pairs moved.
#[derive(Default)]
struct Moved {
    reads: u64,
    writes: u64,
    compared: u64,
    bad: u64,
}

impl Moved {
    /// Adds what one side did.
    fn add(&mut self, proof: &Value) {
        let count = |key: &str| proof[key].as_u64().unwrap_or(0);
        self.reads += count("reads");
        self.writes += count("writes");
        self.compared += count("bytes_compared");
        self.bad += count("bad_bytes");
    }
}

/// Brings the link up on one node.
pub(crate) fn set_up(node: &Node, profile: &Profile, address: Address) -> Result<()> {
    let mut link = vec![
        RXE_SETUP.to_owned(),
        "link".to_owned(),
        format!("--dev={}", profile.netdev(node.name())),
        format!("--addr={address}"),
        format!("--kind={}", profile.link.kind),
    ];
    link.extend(profile.link.mtu.map(|mtu| format!("--mtu={mtu}")));
    let device = profile
        .of(node.name())
        .and_then(|node| node.device.as_ref());
    link.extend(device.map(|device| format!("--device={device}")));
    node.run("setting up the link", link).map(drop)
}

/// One side of the proof with the node that listens at `listener`.
fn prove_half(node: &Node, role: &str, listener: Address, deadline: Duration) -> Result<Value> {
    let (address, seconds) = (listener.ip.to_string(), deadline.as_secs().to_string());
    let argv = [RXE_SETUP, "prove", role, &address, "--deadline", &seconds];
    // It keeps its time by itself.
    let said = node.run_within(deadline + STEP, PROVING, argv)?;
    report_in(node, PROVING, &said)
}

/// The report in what `rxe-setup` said.
fn report_in(node: &Node, what: &str, said: &str) -> Result<Value> {
    let last = said.lines().last().unwrap_or("");
    serde_json::from_str(last).map_err(|_| Error::Step {
        what: what.into(),
        node: node.name().into(),
        detail: format!("it said `{last}`"),
    })
}

/// The device's counters that are not 0.
fn counters(proof: &Value) -> String {
    let Some(counters) = proof["counters"].as_object() else {
        return "no counters".into();
    };
    let moved: Vec<String> = counters
        .iter()
        .filter(|(_, value)| value.as_u64() != Some(0))
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    moved.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_that_moved_are_listed() {
        let proof = serde_json::json!({"counters": {"sent_pkts": 12, "rcvd_seq_err": 0}});
        assert_eq!(counters(&proof), "sent_pkts 12");
        assert_eq!(counters(&Value::Null), "no counters");
    }
}
