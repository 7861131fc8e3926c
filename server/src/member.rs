//! One client: its lease and its session.

use std::sync::Arc;
use std::time::Instant;

use rapidswap_verbs::{ConnectParams, Connection, Id, Key, Result};
use remoteswap_logic::wire::{RETRY_COUNT, RNR_RETRY_COUNT, Req, Role};
use tracing::info;

use crate::admission::Standing;
use crate::lease::Lease;
use crate::liveness::{Liveness, Verdict};

/// One client: its lease and the session it has, if any.
#[derive(Debug)]
pub struct Client {
    // Connections before the lease whose domain they are in.
    pub links: Links,
    pub lease: Lease,
    pub kept: bool,
    pub joined: bool,
    pub idle_since: Option<Instant>,
    pub liveness: Liveness,
}

#[derive(Debug, Default)]
pub struct Links {
    pub load: Option<Connection>,
    pub store: Option<Connection>,
}

impl Client {
    pub fn new(lease: Lease) -> Client {
        Client {
            links: Links::default(),
            lease,
            kept: false,
            joined: false,
            idle_since: None,
            liveness: Liveness::default(),
        }
    }

    pub fn standing(&self) -> Standing {
        Standing {
            session: self.lease.session(),
            live: self.links.load.is_some(),
            joined: self.joined,
        }
    }

    /// Accepts a request that was judged good.
    pub fn connect(&mut self, id: &Arc<Id>, req: &Req, depths: (u8, u8), epoch: u64) -> Result<()> {
        if req.role == Role::Load {
            // The fence: no queue pair of an older session is left and all its
            // keys are void before the client hears that it is let in.
            self.links = Links::default();
            self.liveness.restart();
            self.joined = false;
            // A client that was let in before, under whatever number.
            self.kept = self.lease.session() != 0;
            self.lease.rekey(epoch, req.session)?;
        }
        let link = Connection::new(id.clone(), self.lease.domain(), self.lease.queue(), 2, 1)?;
        link.accept(ConnectParams {
            private_data: &self.lease.reply(epoch, self.kept)?.encode(),
            responder_resources: depths.0,
            initiator_depth: depths.1,
            retry_count: RETRY_COUNT,
            rnr_retry_count: RNR_RETRY_COUNT,
        })?;
        self.idle_since = None;
        self.lease.lend();
        match req.role {
            Role::Load => self.links.load = Some(link),
            Role::Store => {
                self.joined = true;
                self.links.store = Some(link);
            }
        }
        Ok(())
    }

    pub fn end(&mut self, why: &'static str, client_id: u64) {
        self.links = Links::default();
        self.idle_since = Some(Instant::now());
        info!(
            client = format!("{client_id:016x}"),
            session = self.lease.session(),
            "session over: {why}"
        );
    }

    pub fn is_alive(&mut self) -> bool {
        let Some(load) = &self.links.load else {
            return true;
        };
        while let Ok(Some(done)) = load.queue().poll() {
            if !self.liveness.answered(done.wr_id, done.error.is_none()) {
                return false;
            }
        }
        match self.liveness.tick() {
            Verdict::Ask(number) => load.post_empty(number).is_ok(),
            Verdict::Wait => true,
            Verdict::Dead => false,
        }
    }
}

impl Links {
    pub fn has(&self, key: Key) -> bool {
        [&self.load, &self.store]
            .into_iter()
            .flatten()
            .any(|link| link.key() == key)
    }
}
