//! All that a running cluster says about itself: its own state, and what the
//! parts of remote swap have counted.

use std::collections::BTreeMap;
use std::fmt;

use remoteswap_logic::slots::PAGE_BYTES;
use serde::Serialize;

use crate::cluster::Cluster;
use crate::cluster::node::Node;
use crate::cluster::status::Status;
use crate::error::Result;
use crate::size::human_readable;
use crate::swap::{self, Counters};

/// What a node is asked.
const ASKED: &str = "saying how it is";

/// A cluster, and remote swap on it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The cluster.
    #[serde(flatten)]
    pub status: Status,
    /// Pages that the client has moved; `None` if it cannot be asked just now.
    pub counters: Option<Counters>,
    /// What the module says of itself; `None` if it is not loaded, or cannot
    /// be asked.
    pub module: Option<BTreeMap<String, String>>,
    /// What each memory server says of itself, by node; without those that do
    /// not run, or cannot be asked.
    pub servers: BTreeMap<String, serde_json::Value>,
    /// Nodes that are up and do not answer.
    pub silent: Vec<String>,
}

impl Cluster {
    /// How it is, and what it has done. A node that is not up is not waited
    /// for, and one that does not answer is not for long.
    pub fn report(&self) -> Result<Report> {
        let status = self.status()?;
        let client = |client: &Node| {
            (
                swap::counters(client).ok(),
                swap::module_status(client).ok(),
            )
        };
        let said = self.ask_all(&status, ASKED, client, |server| {
            swap::server_stats(server).ok()
        });
        let (counters, module) = said.client.unwrap_or_default();
        Ok(Report {
            counters,
            module,
            servers: said.servers,
            silent: said.silent,
            status,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        for node in &self.silent {
            write!(
                f,
                "\n{node} does not answer: see `./just logs` and `./just gdb`"
            )?;
        }
        if let Some(module) = &self.module {
            let state = module.get("state").map_or("unknown", String::as_str);
            write!(f, "\nsession  {state}")?;
        }
        if let Some(counters) = &self.counters {
            write!(
                f,
                "\nstored   {} pages ({}), {} failed, {} to disk instead",
                counters.pages_stored,
                human_readable(counters.pages_stored * PAGE_BYTES),
                counters.stores_failed,
                counters.disk_writes
            )?;
            write!(
                f,
                "\nloaded   {} pages ({}), {} failed, {} lost",
                counters.pages_loaded,
                human_readable(counters.pages_loaded * PAGE_BYTES),
                counters.loads_failed,
                counters.loads_lost
            )?;
        }
        for (name, server) in &self.servers {
            let clients = server["clients"].as_array().map_or(&[][..], Vec::as_slice);
            let leased: u64 = clients
                .iter()
                .filter_map(|client| client["capacity_bytes"].as_u64())
                .sum();
            write!(
                f,
                "\nserving  {} from {name} to {} clients, {} free",
                human_readable(leased),
                clients.len(),
                human_readable(server["free_bytes"].as_u64().unwrap_or(0))
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::status::{Gone, NodeState, NodeStatus};
    use crate::outcome::Outcome;
    use crate::supervisor::plan;

    #[test]
    fn a_status_reads_as_written_down() {
        let plan = plan(2);
        let node = |name: &str, state: NodeState, link_up: bool, pid: u32| NodeStatus {
            name: name.into(),
            state,
            link_up,
            address: "10.77.0.1".into(),
            memory_mib: 512,
            pid,
            console: format!("/run/{name}/console.log").into(),
            command_line: "/run/qemu.txt".into(),
            swap_area: None,
        };
        let gone = Gone {
            outcome: Outcome::GuestPanic,
            reason: "its kernel panicked".into(),
        };
        let mut faults = crate::LinkFaults {
            loss: "1%".parse().expect("a share"),
            ..Default::default()
        };
        faults.part("server", "client");
        let status = Status {
            build_s: 0.31,
            up_s: 2.04,
            link_s: 1.01,
            swap: true,
            supervisor: 100,
            link_faults: faults,
            nodes: vec![
                node("client", NodeState::Up, true, 101),
                node("server", NodeState::Paused, false, 102),
                node("server2", NodeState::Gone(gone), true, 103),
            ],
            splats: 1,
            ..plan.status("/run".as_ref())
        };
        let counters = "rswpout 512\nrswpout_fail 1\nrswpout_disk 2\nrswpin 256\nrswpin_fail 3\n\
            rswpin_lost 4\npswpout 5\npswpin 6\nswap_ra 7\nswap_ra_hit 8\n";
        let server = serde_json::json!({
            "clients": [{ "capacity_bytes": 64 << 20 }],
            "free_bytes": 192 << 20,
        });
        let report = Report {
            status,
            counters: Some(Counters::parse(counters).expect("all of them")),
            module: Some([("state".to_owned(), "up".to_owned())].into()),
            servers: [("server".to_owned(), server)].into(),
            silent: Vec::new(),
        };
        let golden = include_str!("../tests/golden/status.txt");
        assert_eq!(report.to_string() + "\n", golden);
    }
}
