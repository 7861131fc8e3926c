//! The RDMA link between the nodes: brought up and proved by `rxe-setup`,
//! which runs in both of them, before anything is built on it.

use std::thread;
use std::time::Duration;

use rapidswap_progress::Reporter;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::profile::{Profile, ProfileNode};

/// Where the payload's programs are in a node.
const RXE_SETUP: &str = "/rapidswap/bin/rxe-setup";

/// Longest time one half of the proof may take, connecting included.
const DEADLINE: Duration = Duration::from_secs(60);

/// Brings the link up on both nodes and has each move random bytes through
/// the other's memory.
pub(crate) fn prove(cluster: &Cluster, profile: &Profile, reporter: &Reporter) -> Result<()> {
    let step = reporter.step("link proof", Duration::from_secs(2));
    let client = cluster.node("client")?;
    let server = cluster.node("server")?;
    let deadline = DEADLINE * cluster.status()?.kernel.patience();
    let (near, far) = thread::scope(|scope| {
        let far =
            scope.spawn(|| half(&server, profile, &profile.node.server, "--listen", deadline));
        let near = half(
            &client,
            profile,
            &profile.node.client,
            "--connect",
            deadline,
        );
        (near, far.join())
    });
    let far = far.unwrap_or(Err(Error::SupervisorGone));
    let (near, far) = match (near, far) {
        (Ok(near), Ok(far)) => (near, far),
        // The side that failed first says why; the other only waited for it.
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    let count = |proof: &Value, key: &str| proof[key].as_u64().unwrap_or(0);
    step.done(&format!(
        "{} READs and {} WRITEs each way, {} bytes compared, {} wrong",
        count(&near, "reads").min(count(&near, "peer_reads")),
        count(&near, "writes").min(count(&near, "peer_writes")),
        count(&near, "bytes_compared") + count(&far, "bytes_compared"),
        count(&near, "bad_bytes") + count(&far, "bad_bytes"),
    ));
    for (node, proof) in [(&client, &near), (&server, &far)] {
        let device = proof["device"].as_str().unwrap_or("no device");
        reporter.note(&format!("{} {device}: {}", node.name(), counters(proof)));
    }
    Ok(())
}

/// Brings the link up on one node.
pub(crate) fn set_up(node: &Node, profile: &Profile, end: &ProfileNode) -> Result<()> {
    let (address, mtu) = (end.address.to_string(), profile.link.mtu.to_string());
    let link = [
        "link",
        "--dev",
        &profile.link.netdev,
        "--addr",
        &address,
        "--mtu",
        &mtu,
        "--kind",
        &profile.link.kind,
    ];
    node.run("setting up the link", [RXE_SETUP].iter().chain(&link))
        .map(drop)
}

fn half(
    node: &Node,
    profile: &Profile,
    end: &ProfileNode,
    role: &str,
    deadline: Duration,
) -> Result<Value> {
    set_up(node, profile, end)?;
    let server = profile.node.server.address.ip.to_string();
    let deadline = deadline.as_secs().to_string();
    let prove = ["prove", role, &server, "--deadline", &deadline];
    let said = node.run("proving the link", [RXE_SETUP].iter().chain(&prove))?;
    let last = said.lines().last().unwrap_or("");
    serde_json::from_str(last).map_err(|_| Error::Step {
        what: "proving the link".into(),
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
