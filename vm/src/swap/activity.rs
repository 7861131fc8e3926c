//! What a cluster does between two moments: rates, times, memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::cluster::Cluster;
use crate::cluster::node::Node;
use crate::error::Result;
use crate::swap;
use crate::swap::latency::{FAULT, Spread};
use crate::swap::reading::{Group, Memory, Reading};

/// What a node is asked.
const ASKED: &str = "saying what it does";

/// How a node is that is up and does not answer.
const SILENT: &str = "silent";

/// All that a cluster's nodes say at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    cluster: String,
    taken: Instant,
    states: BTreeMap<String, String>,
    client: Option<Reading>,
    servers: BTreeMap<String, Serving>,
}

/// What a cluster did between two moments, and how it was at the later one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Activity {
    /// The cluster's name.
    pub cluster: String,
    /// How long the time between was.
    pub seconds: f64,
    /// How each node is, in one word; "silent" if it is up and does not answer.
    pub nodes: BTreeMap<String, String>,
    /// The node that swaps; `None` if it could not be asked.
    pub client: Option<Swapping>,
    /// Each memory server, by node; without those that could not be asked.
    pub servers: BTreeMap<String, Serving>,
}

/// What the client did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Swapping {
    /// How the module's session is; `None` while it is not loaded.
    pub session: Option<String>,
    /// Pages a second.
    pub per_second: Rates,
    /// The module's times, by stage.
    pub latency: BTreeMap<String, Spread>,
    /// Its memory.
    pub memory: Memory,
    /// Groups that have a limit.
    pub groups: Vec<Group>,
}

/// Pages a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Faults that met a page which was remote.
    pub faults: f64,
    /// Pages loaded, for them and ahead of them.
    pub loads: f64,
    /// Read ahead.
    pub read_ahead: f64,
    /// Read ahead earlier, and met by a fault now.
    pub read_ahead_used: f64,
    /// Stored remotely.
    pub stores: f64,
    /// Of attached areas, written to the swap device instead.
    pub disk_writes: f64,
    /// Loads and stores that failed.
    pub failures: f64,
}

/// How much of a server's memory is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Serving {
    /// How many clients it has.
    pub clients: usize,
    /// What they have of its memory.
    pub leased_bytes: u64,
    /// What is left of it.
    pub free_bytes: u64,
    /// The whole node's memory.
    pub memory: Memory,
}

impl Sample {
    /// Asks all nodes that are up. One that does not answer is not waited for
    /// for long.
    pub fn of(cluster: &Cluster) -> Result<Sample> {
        let status = cluster.status()?;
        let states = status.nodes.iter();
        let states = states.map(|node| (node.name.clone(), node.state.word().to_owned()));
        let mut states: BTreeMap<_, _> = states.collect();
        let client = |client: &Node| (Reading::of(client).ok(), Instant::now());
        // A node that goes just now is missing this once.
        let said = cluster.ask_all(&status, ASKED, client, |server| Serving::of(server).ok());
        let silent = said.silent.into_iter();
        states.extend(silent.map(|name| (name, SILENT.to_owned())));
        let (client, taken) = said.client.unwrap_or((None, Instant::now()));
        Ok(Sample {
            cluster: status.name.clone(),
            taken,
            states,
            client,
            servers: said.servers,
        })
    }

    /// What was done since an earlier sample.
    pub fn since(&self, earlier: &Sample) -> Activity {
        let seconds = (self.taken - earlier.taken).as_secs_f64();
        // Without the client's earlier numbers there is no rate.
        let client = self.client.as_ref().zip(earlier.client.as_ref());
        Activity {
            cluster: self.cluster.clone(),
            seconds,
            nodes: self.states.clone(),
            client: client.map(|(now, then)| Swapping::between(then, now, seconds)),
            servers: self.servers.clone(),
        }
    }
}

impl Swapping {
    fn between(then: &Reading, now: &Reading, seconds: f64) -> Swapping {
        let moved = now.figures.since(&then.figures);
        let latencies = moved.latencies.unwrap_or_default();
        let counters = moved.counters;
        let rate = |pages: u64| pages as f64 / seconds.max(1e-3);
        Swapping {
            session: now.session.clone(),
            per_second: Rates {
                faults: rate(latencies.spread(FAULT).count),
                loads: rate(counters.pages_loaded),
                read_ahead: rate(counters.read_ahead),
                read_ahead_used: rate(counters.read_ahead_used),
                stores: rate(counters.pages_stored),
                disk_writes: rate(counters.disk_writes),
                failures: rate(
                    counters.stores_failed + counters.loads_failed + counters.loads_lost,
                ),
            },
            latency: latencies.spreads(),
            memory: now.memory,
            groups: now.groups.clone(),
        }
    }
}

impl Serving {
    fn of(server: &Node) -> Result<Serving> {
        let stats = swap::server_stats(server)?;
        let clients = stats["clients"].as_array().map_or(&[][..], Vec::as_slice);
        let capacity = clients
            .iter()
            .filter_map(|client| client["capacity_bytes"].as_u64());
        let mut meminfo = Vec::new();
        server.pull(Path::new("/proc/meminfo"), &mut meminfo)?;
        Ok(Serving {
            clients: clients.len(),
            leased_bytes: capacity.sum(),
            free_bytes: stats["free_bytes"].as_u64().unwrap_or(0),
            memory: Memory::parse(&String::from_utf8_lossy(&meminfo)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::swap::counters::Counters;
    use crate::swap::latency::Latencies;
    use crate::swap::reading::Figures;

    fn sample(taken: Instant, stored: u64, faults: u64) -> Sample {
        let histograms = format!("fault 96 104 {faults}\n");
        Sample {
            cluster: "default".into(),
            taken,
            states: BTreeMap::new(),
            client: Some(Reading {
                figures: Figures {
                    counters: Counters {
                        pages_stored: stored,
                        ..Counters::default()
                    },
                    latencies: Some(Latencies::parse(&histograms)),
                },
                ..Reading::default()
            }),
            servers: BTreeMap::new(),
        }
    }

    #[test]
    fn rates_are_of_the_time_between() {
        let start = Instant::now();
        let later = start + Duration::from_secs(2);
        let activity = sample(later, 100, 7).since(&sample(start, 60, 1));
        let client = activity.client.expect("asked twice");
        assert_eq!(client.per_second.stores, 20.0);
        assert_eq!(client.per_second.faults, 3.0);
        assert_eq!(client.latency[FAULT].count, 6);
    }

    #[test]
    fn a_client_that_was_not_asked_before_has_no_rates() {
        let start = Instant::now();
        let silent = Sample {
            client: None,
            ..sample(start, 0, 0)
        };
        assert_eq!(sample(start, 1, 1).since(&silent).client, None);
    }
}
