//! All that a running cluster says about itself: its own state, and what the
//! parts of remote swap have counted.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::cluster::Cluster;
use crate::error::Result;
use crate::profile::CLIENT;
use crate::status::{NodeState, Status};
use crate::swap::{self, Counters};

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
}

impl Cluster {
    /// How it is, and what it has done. A node that is not up is not waited
    /// for.
    pub fn report(&self) -> Result<Report> {
        let status = self.status()?;
        let up = status.nodes.iter();
        let up = up.filter(|node| node.state == NodeState::Up);
        let mut report = Report {
            counters: None,
            module: None,
            servers: BTreeMap::new(),
            status: status.clone(),
        };
        for node in up.map(|node| self.known(&node.name)) {
            if node.name() == CLIENT {
                report.counters = swap::counters(&node).ok();
                report.module = swap::module_status(&node).ok();
            } else if let Ok(stats) = swap::server_stats(&node) {
                report.servers.insert(node.name().to_owned(), stats);
            }
        }
        Ok(report)
    }
}

/// Bytes as people read them.
fn mib(pages: u64) -> String {
    format!("{:.1} MiB", pages as f64 / 256.0)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if let Some(module) = &self.module {
            let state = module.get("state").map_or("unknown", String::as_str);
            write!(f, "\nsession  {state}")?;
        }
        if let Some(counters) = &self.counters {
            write!(
                f,
                "\nstored   {} pages ({}), {} failed, {} to disk instead",
                counters.pages_stored,
                mib(counters.pages_stored),
                counters.stores_failed,
                counters.disk_writes
            )?;
            write!(
                f,
                "\nloaded   {} pages ({}), {} failed, {} lost",
                counters.pages_loaded,
                mib(counters.pages_loaded),
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
                mib(leased >> 12),
                clients.len(),
                mib(server["free_bytes"].as_u64().unwrap_or(0) >> 12)
            )?;
        }
        Ok(())
    }
}
