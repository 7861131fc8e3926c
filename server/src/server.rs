//! Connections come and go; leases outlast them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::random;
use rapidswap_verbs::{Event, EventChannel, EventKind, Id, Key, Result};
use remoteswap_logic::wire::{MAX_READS, Reason, Rej, Req};
use tracing::{debug, info, warn};

use crate::admission::{Decision, decide};
use crate::lease::Lease;
use crate::member::{Client, Links};
use crate::pool::Pool;
use crate::stats::{ClientStats, Stats, Tally};

/// Requests a client may have waiting to be let in.
const BACKLOG: i32 = 64;

/// Events that are dealt with before anything else has its turn.
const EVENTS: usize = 64;

/// A memory server on one address.
#[derive(Debug)]
pub struct Server {
    // Clients before the listener and the channel their connections are on.
    clients: BTreeMap<u64, Client>,
    pool: Pool,
    listener: Arc<Id>,
    channel: EventChannel,
    epoch: u64,
    grace: Duration,
    tally: Tally,
}

/// An address taken, on which nobody is let in yet.
#[derive(Debug)]
pub struct Bound {
    listener: Id,
    channel: EventChannel,
}

impl Bound {
    /// Takes an address.
    pub fn to(address: SocketAddr) -> Result<Bound> {
        let channel = EventChannel::new()?;
        let listener = Id::new(&channel)?;
        listener.bind(address)?;
        Ok(Bound { listener, channel })
    }

    /// Lets clients in, with the memory of `pool` to lend. What a client leaves
    /// behind without releasing it is kept for `grace`.
    pub fn serve(self, pool: Pool, grace: Duration) -> Result<Server> {
        self.listener.listen(BACKLOG)?;
        Ok(Server {
            clients: BTreeMap::new(),
            pool,
            listener: Arc::new(self.listener),
            channel: self.channel,
            epoch: random(),
            grace,
            tally: Tally::default(),
        })
    }
}

impl Server {
    /// Where events arrive.
    pub fn channel(&self) -> &EventChannel {
        &self.channel
    }

    /// Names this process.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Takes in all events that are there. `false`: the device is gone.
    pub fn handle_events(&mut self) -> Result<bool> {
        // Whatever peers do, there is a time for signals and for the others.
        for _ in 0..EVENTS {
            let Some(event) = self.channel.try_next()? else {
                break;
            };
            debug!(
                event = event.name,
                status = event.status,
                "connection manager"
            );
            if !self.handle(event) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn handle(&mut self, event: Event) -> bool {
        match event.kind {
            EventKind::ConnectRequest {
                id,
                responder_resources,
                initiator_depth,
            } => {
                let depths = (
                    responder_resources.min(MAX_READS),
                    initiator_depth.min(MAX_READS),
                );
                self.request(Arc::new(id), &event.private_data, depths);
            }
            EventKind::Disconnected | EventKind::Rejected => {
                self.session_over(event.key, event.name)
            }
            EventKind::DeviceRemoval => return false,
            EventKind::Established | EventKind::Resolved | EventKind::Other => {}
        }
        true
    }

    fn request(&mut self, id: Arc<Id>, private_data: &[u8], depths: (u8, u8)) {
        let peer = id
            .peer()
            .map_or_else(|| "unknown peer".to_owned(), |a| a.to_string());
        let outcome = Req::decode(private_data)
            .map_err(|e| {
                warn!(%peer, "request refused: {e}");
                Reason::from(e)
            })
            .and_then(|req| self.admit(&id, &req, depths, &peer));
        match outcome {
            Ok(()) => self.tally.accepted += 1,
            Err(reason) => {
                self.tally.rejected += 1;
                info!(%peer, "rejected: {reason}");
                // Where a queue pair was made, it is gone by now.
                if let Some(id) = Arc::into_inner(id) {
                    if let Err(e) = id.reject(&Rej::new(reason).encode()) {
                        debug!(%peer, "rejection not sent: {e}");
                    }
                }
            }
        }
    }

    fn admit(
        &mut self,
        id: &Arc<Id>,
        req: &Req,
        depths: (u8, u8),
        peer: &str,
    ) -> std::result::Result<(), Reason> {
        let known = self.clients.get(&req.client_id).map(Client::standing);
        match decide(known, req) {
            Decision::Refuse(reason) => return Err(reason),
            Decision::Join => {}
            Decision::Grant => {
                self.expire(Instant::now());
                let lease = Lease::new(&self.listener, random(), &self.pool, req.wanted_bytes)
                    .map_err(|e| no_memory(peer, &e))?
                    .ok_or(Reason::NoMemory)?;
                self.clients.insert(req.client_id, Client::new(lease));
            }
            Decision::Rejoin => self.tally.fenced += 1,
        }
        let Some(client) = self.clients.get_mut(&req.client_id) else {
            return Err(Reason::StaleSession);
        };
        if let Err(e) = client.connect(id, req, depths, self.epoch) {
            let reason = no_memory(peer, &e);
            client.links = Links::default();
            client.idle_since.get_or_insert_with(Instant::now);
            // Memory the client never heard of. Other memory has its pages, and
            // may get its keys another time.
            if known.is_none() {
                self.clients.remove(&req.client_id);
            }
            return Err(reason);
        }
        info!(
            peer, client = format!("{:016x}", req.client_id), session = req.session,
            role = ?req.role, lease = format!("{:016x}", client.lease.number()),
            capacity = client.lease.capacity(), kept = client.kept, "accepted"
        );
        Ok(())
    }

    /// A session lives as long as both its queue pairs: with one the other goes.
    fn session_over(&mut self, key: Key, why: &'static str) {
        let owner = self.clients.iter_mut().find(|(_, c)| c.links.has(key));
        let Some((&client_id, client)) = owner else {
            return;
        };
        client.end(why, client_id);
        self.tally.ended += 1;
        self.expire(Instant::now());
    }

    /// Frees leases that were released or whose time is over.
    pub fn expire(&mut self, now: Instant) {
        let grace = self.grace;
        let before = self.clients.len();
        self.clients.retain(|client_id, client| {
            let Some(since) = client.idle_since else {
                return true;
            };
            let released = client.lease.is_released();
            let keep = !released && now.saturating_duration_since(since) < grace;
            if !keep {
                let why = if released {
                    "released"
                } else {
                    "not come back for"
                };
                info!(
                    client = format!("{client_id:016x}"),
                    bytes = client.lease.capacity(),
                    "lease {why}, memory freed"
                );
            }
            keep
        });
        self.tally.freed += (before - self.clients.len()) as u64;
    }

    /// Asks every client's adapter whether it is still there; to be called every
    /// [`crate::liveness::INTERVAL`]. Ends the sessions of those that have not
    /// answered for long.
    pub fn check_clients(&mut self) {
        for (client_id, client) in &mut self.clients {
            if !client.is_alive() {
                client.end("no answer", *client_id);
                self.tally.ended += 1;
            }
        }
        self.expire(Instant::now());
    }

    /// Ends all sessions and gives up all leases.
    pub fn close(&mut self) {
        self.clients.clear();
    }

    /// When the next lease runs out.
    pub fn next_expiry(&self) -> Option<Instant> {
        let idle = self.clients.values().filter_map(|c| c.idle_since);
        idle.min().and_then(|since| since.checked_add(self.grace))
    }

    /// Inverts a bit in the page of a slot of the only client.
    pub fn flip(&self, slot: u64) -> std::result::Result<(), &'static str> {
        let mut clients = self.clients.values();
        match (clients.next(), clients.next()) {
            (Some(client), None) if client.lease.flip(slot) => Ok(()),
            (Some(_), None) => Err("no such slot"),
            (None, _) => Err("no client has a lease"),
            _ => Err("more than one client has a lease"),
        }
    }

    /// A picture of all this.
    pub fn stats(&self) -> Stats {
        let clients = self.clients.iter().map(|(client_id, c)| ClientStats {
            client: format!("{client_id:016x}"),
            session: c.lease.session(),
            lease: format!("{:016x}", c.lease.number()),
            capacity_bytes: c.lease.capacity(),
            load: c.links.load.is_some(),
            store: c.links.store.is_some(),
        });
        Stats {
            epoch: format!("{:016x}", self.epoch),
            free_bytes: self.pool.free(),
            chunk_bytes: self.pool.chunk_bytes(),
            tally: self.tally,
            clients: clients.collect(),
        }
    }
}

fn no_memory(peer: &str, error: &rapidswap_verbs::Error) -> Reason {
    warn!(%peer, "cannot serve: {error}; if memory cannot be registered, raise RLIMIT_MEMLOCK (ulimit -l) or run as root");
    Reason::NoMemory
}
