//! What is asked of all nodes of a cluster at once.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::thread;

use crate::cluster::Cluster;
use crate::cluster::node::{ANSWER, Node};
use crate::cluster::profile::CLIENT;
use crate::cluster::status::{NodeState, Status};

/// What the nodes that are up said.
pub(crate) struct Answers<C, S> {
    /// The node that swaps.
    pub(crate) client: Option<C>,
    /// Each memory server that knew something, by node.
    pub(crate) servers: BTreeMap<String, S>,
    /// Who did not answer.
    pub(crate) silent: Vec<String>,
}

/// What one of them said.
enum Said<C, S> {
    Client(C),
    Server(Option<S>),
}

impl Cluster {
    /// Asks each node of `status` that is up, all at once and none for long;
    /// `what` says what they are to say.
    pub(crate) fn ask_all<C: Send + 'static, S: Send + 'static>(
        &self,
        status: &Status,
        what: &str,
        client: fn(&Node) -> C,
        server: fn(&Node) -> Option<S>,
    ) -> Answers<C, S> {
        let limit = status.patient(ANSWER);
        let ask = |name: &str| {
            let swaps = name == CLIENT;
            self.known(name).within(what, limit, move |node| {
                Ok(if swaps {
                    Said::Client(client(node))
                } else {
                    Said::Server(server(node))
                })
            })
        };
        let mut answers = Answers {
            client: None,
            servers: BTreeMap::new(),
            silent: Vec::new(),
        };
        thread::scope(|scope| {
            let up = status.nodes.iter();
            let up = up.filter(|node| node.state == NodeState::Up);
            let asked = up.map(|node| (&node.name, scope.spawn(|| ask(&node.name))));
            for (name, said) in asked.collect::<Vec<_>>() {
                match said.join().unwrap_or_else(|panic| resume_unwind(panic)) {
                    Ok(Said::Client(said)) => answers.client = Some(said),
                    Ok(Said::Server(Some(said))) => {
                        answers.servers.insert(name.clone(), said);
                    }
                    Ok(Said::Server(None)) => {}
                    Err(_) => answers.silent.push(name.clone()),
                }
            }
        });
        answers
    }
}
