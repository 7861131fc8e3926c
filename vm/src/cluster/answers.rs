//! What is asked of all nodes of a cluster at once.

use std::collections::BTreeMap;

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

impl Cluster {
    /// Asks each node of `status` that is up, one after the other and none for
    /// long; `what` says what they are to say.
    pub(crate) fn ask_all<C: Send + 'static, S: Send + 'static>(
        &self,
        status: &Status,
        what: &str,
        client: fn(&Node) -> C,
        server: fn(&Node) -> Option<S>,
    ) -> Answers<C, S> {
        let limit = status.patient(ANSWER);
        let mut answers = Answers {
            client: None,
            servers: BTreeMap::new(),
            silent: Vec::new(),
        };
        let up = status.nodes.iter();
        for node in up.filter(|node| node.state == NodeState::Up) {
            let (name, node) = (node.name.clone(), self.known(&node.name));
            let said = if name == CLIENT {
                let said = node.within(what, limit, move |node| Ok(client(node)));
                said.map(|said| answers.client = Some(said))
            } else {
                let said = node.within(what, limit, move |node| Ok(server(node)));
                said.map(|said| {
                    answers
                        .servers
                        .extend(said.map(|said| (name.clone(), said)))
                })
            };
            if said.is_err() {
                answers.silent.push(name);
            }
        }
        answers
    }
}
