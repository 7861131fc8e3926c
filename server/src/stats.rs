//! What `stats` answers.

use serde::Serialize;

/// What has happened since the start.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Tally {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections turned away.
    pub rejected: u64,
    /// Sessions that took the place of an older one of the same client.
    pub fenced: u64,
    /// Sessions that ended.
    pub ended: u64,
    /// Leases whose memory went back.
    pub freed: u64,
}

/// A picture of the server, as `stats` answers it.
#[derive(Debug, Serialize)]
pub struct Stats {
    pub(crate) epoch: String,
    pub(crate) free_bytes: u64,
    pub(crate) chunk_bytes: u64,
    #[serde(flatten)]
    pub(crate) tally: Tally,
    pub(crate) clients: Vec<ClientStats>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ClientStats {
    pub(crate) client: String,
    pub(crate) session: u64,
    pub(crate) lease: String,
    pub(crate) capacity_bytes: u64,
    pub(crate) load: bool,
    pub(crate) store: bool,
}
