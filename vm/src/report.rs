//! All that a running cluster says about itself: its own state, and what the
//! parts of remote swap have counted.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::cluster::Cluster;
use crate::error::Result;
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
    /// What the memory server says of itself; `None` if it does not run, or
    /// cannot be asked.
    pub server: Option<serde_json::Value>,
}

impl Cluster {
    /// How it is, and what it has done. A node that is not up is not waited
    /// for.
    pub fn report(&self) -> Result<Report> {
        let status = self.status()?;
        let is_up = |name: &str| {
            let mut nodes = status.nodes.iter();
            nodes.any(|node| node.name == name && node.state == NodeState::Up)
        };
        let (client, server) = (is_up("client"), is_up("server"));
        Ok(Report {
            counters: client.then(|| swap::counters(self).ok()).flatten(),
            module: client
                .then(|| swap::module_status(&self.node("client").ok()?).ok())
                .flatten(),
            server: server
                .then(|| swap::server_stats(&self.node("server").ok()?).ok())
                .flatten(),
            status,
        })
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
        if let Some(server) = &self.server {
            let clients = server["clients"].as_array().map_or(&[][..], Vec::as_slice);
            let leased: u64 = clients
                .iter()
                .filter_map(|client| client["capacity_bytes"].as_u64())
                .sum();
            write!(
                f,
                "\nserving  {} to {} clients, {} free",
                mib(leased >> 12),
                clients.len(),
                mib(server["free_bytes"].as_u64().unwrap_or(0) >> 12)
            )?;
        }
        Ok(())
    }
}
