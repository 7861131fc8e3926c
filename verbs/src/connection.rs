//! An `rdma_cm_id` with its queue pair.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdma_sys as sys;
use sys::ibv_wr_opcode as op;

use crate::channel::{Event, EventChannel, EventKind};
use crate::domain::{Domain, Region};
use crate::error::{Error, Result};
use crate::id::{Id, Key, check};
use crate::queue::CompletionQueue;

/// What both sides agree on as they connect.
#[derive(Clone, Copy, Debug)]
pub struct ConnectParams<'a> {
    /// Goes to the peer with the request or the answer.
    pub private_data: &'a [u8],
    /// READs the peer may have outstanding towards this side.
    pub responder_resources: u8,
    /// READs this side may have outstanding.
    pub initiator_depth: u8,
    /// Transport retries; 7 never gives up on some devices.
    pub retry_count: u8,
    /// Retries while the peer has no receive posted; 7 is for ever.
    pub rnr_retry_count: u8,
}

/// A place in the peer's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Address there.
    pub addr: u64,
    /// Key for it.
    pub rkey: u32,
}

/// A reliable connection.
///
/// # Invariants
///
/// The queue pair of `id` was created here, in `_domain`, reporting to `queue`,
/// and is destroyed only in `drop`, before those three are let go.
#[derive(Debug)]
pub struct Connection {
    id: Arc<Id>,
    queue: CompletionQueue,
    _domain: Domain,
}

impl Connection {
    /// Gives `id` a queue pair with room for `sends` and `receives` requests.
    pub fn new(
        id: Arc<Id>,
        domain: &Domain,
        queue: &CompletionQueue,
        sends: u16,
        receives: u16,
    ) -> Result<Connection> {
        let mut attributes = sys::ibv_qp_init_attr {
            qp_context: std::ptr::null_mut(),
            send_cq: queue.raw(),
            recv_cq: queue.raw(),
            srq: std::ptr::null_mut(),
            cap: sys::ibv_qp_cap {
                max_send_wr: sends.max(1).into(),
                max_recv_wr: receives.max(1).into(),
                max_send_sge: 1,
                max_recv_sge: 1,
                max_inline_data: 0,
            },
            qp_type: sys::ibv_qp_type::IBV_QPT_RC,
            sq_sig_all: 1,
        };
        // SAFETY: live identifier, domain and queue of one device; librdmacm
        // refuses a second queue pair.
        let code = unsafe { sys::rdma_create_qp(id.raw(), domain.raw(), &mut attributes) };
        check(code, "create a queue pair")?;
        // INVARIANT: created just now.
        Ok(Connection {
            id,
            queue: queue.clone(),
            _domain: domain.clone(),
        })
    }

    /// What events call this connection.
    pub fn key(&self) -> Key {
        self.id.key()
    }

    /// The identifier under it.
    pub fn id(&self) -> &Arc<Id> {
        &self.id
    }

    /// Where its completions arrive.
    pub fn queue(&self) -> &CompletionQueue {
        &self.queue
    }

    /// Accepts the request this identifier came from.
    pub fn accept(&self, params: ConnectParams<'_>) -> Result<()> {
        let mut params = conn_param(params);
        // SAFETY: a live identifier; the private data outlives the call.
        let code = unsafe { sys::rdma_accept(self.id.raw(), &mut params) };
        check(code, "accept")
    }

    /// Asks the resolved peer to connect; an event follows.
    pub fn connect(&self, params: ConnectParams<'_>) -> Result<()> {
        let mut params = conn_param(params);
        // SAFETY: a live identifier; the private data outlives the call.
        let code = unsafe { sys::rdma_connect(self.id.raw(), &mut params) };
        check(code, "connect")
    }

    /// Ends the connection; the peer is told and requests are flushed.
    pub fn disconnect(&self) -> Result<()> {
        // SAFETY: a live identifier.
        check(unsafe { sys::rdma_disconnect(self.id.raw()) }, "disconnect")
    }

    /// Posts a READ of `len` bytes of `remote` into `local` at `offset`.
    pub fn post_read(
        &self,
        wr_id: u64,
        local: &Region,
        offset: usize,
        len: usize,
        remote: Remote,
    ) -> Result<()> {
        self.post(
            op::IBV_WR_RDMA_READ,
            wr_id,
            local.piece(offset, len)?,
            remote,
        )
    }

    /// Posts a WRITE of `len` bytes of `local` at `offset` to `remote`.
    pub fn post_write(
        &self,
        wr_id: u64,
        local: &Region,
        offset: usize,
        len: usize,
        remote: Remote,
    ) -> Result<()> {
        self.post(
            op::IBV_WR_RDMA_WRITE,
            wr_id,
            local.piece(offset, len)?,
            remote,
        )
    }

    /// Posts a message.
    pub fn post_send(&self, wr_id: u64, local: &Region, offset: usize, len: usize) -> Result<()> {
        let nowhere = Remote { addr: 0, rkey: 0 };
        self.post(op::IBV_WR_SEND, wr_id, local.piece(offset, len)?, nowhere)
    }

    /// Posts room for a message.
    pub fn post_receive(
        &self,
        wr_id: u64,
        local: &Region,
        offset: usize,
        len: usize,
    ) -> Result<()> {
        let mut piece = local.piece(offset, len)?;
        let mut wr = sys::ibv_recv_wr {
            wr_id,
            next: std::ptr::null_mut(),
            sg_list: &mut piece,
            num_sge: 1,
        };
        let mut bad = std::ptr::null_mut();
        // SAFETY: a live queue pair; request and piece outlive the call; the
        // adapter reaches the memory only while its region is registered.
        let code = unsafe { sys::ibv_post_recv((*self.id.raw()).qp, &mut wr, &mut bad) };
        if code == 0 {
            Ok(())
        } else {
            Err(Error::code("post a receive", code))
        }
    }

    /// Posts a WRITE of nothing: it touches no memory, and completes only if the
    /// peer's adapter answers, except over iWARP, where it does when it is sent.
    pub fn post_empty(&self, wr_id: u64) -> Result<()> {
        self.post_pieces(
            op::IBV_WR_RDMA_WRITE,
            wr_id,
            &mut [],
            Remote { addr: 0, rkey: 0 },
        )
    }

    fn post(
        &self,
        opcode: op::Type,
        wr_id: u64,
        piece: sys::ibv_sge,
        remote: Remote,
    ) -> Result<()> {
        self.post_pieces(opcode, wr_id, &mut [piece], remote)
    }

    fn post_pieces(
        &self,
        opcode: op::Type,
        wr_id: u64,
        // At most one: queue pairs are made for that.
        pieces: &mut [sys::ibv_sge],
        remote: Remote,
    ) -> Result<()> {
        // SAFETY: all-zero is a valid ibv_send_wr: integers and null pointers.
        let mut wr: sys::ibv_send_wr = unsafe { std::mem::zeroed() };
        wr.wr_id = wr_id;
        wr.sg_list = pieces.as_mut_ptr();
        wr.num_sge = i32::try_from(pieces.len()).unwrap_or(i32::MAX);
        wr.opcode = opcode;
        wr.send_flags = sys::ibv_send_flags::IBV_SEND_SIGNALED.0;
        wr.wr.rdma = sys::rdma_t {
            remote_addr: remote.addr,
            rkey: remote.rkey,
        };
        let mut bad = std::ptr::null_mut();
        // SAFETY: a live queue pair; request and piece outlive the call; the
        // adapter reaches the memory only while its region is registered.
        let code = unsafe { sys::ibv_post_send((*self.id.raw()).qp, &mut wr, &mut bad) };
        if code == 0 {
            Ok(())
        } else {
            Err(Error::code("post a work request", code))
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The peer is told if it can be; there may be no connection to end.
        let _ = self.disconnect();
        // SAFETY: by the invariant ours to destroy; after this no request of
        // the peer reaches memory through it.
        unsafe { sys::rdma_destroy_qp(self.id.raw()) };
    }
}

fn conn_param(params: ConnectParams<'_>) -> sys::rdma_conn_param {
    // SAFETY: all-zero is a valid rdma_conn_param: integers and a null pointer.
    let mut raw: sys::rdma_conn_param = unsafe { std::mem::zeroed() };
    raw.private_data = params.private_data.as_ptr().cast();
    raw.private_data_len = u8::try_from(params.private_data.len()).unwrap_or(u8::MAX);
    raw.responder_resources = params.responder_resources;
    raw.initiator_depth = params.initiator_depth;
    raw.retry_count = params.retry_count;
    raw.rnr_retry_count = params.rnr_retry_count;
    raw
}

/// Resolves `peer` on a new identifier of `channel`, which nothing else may be
/// waiting on meanwhile.
pub fn dial(channel: &EventChannel, peer: SocketAddr, deadline: Instant) -> Result<Arc<Id>> {
    let id = Id::new(channel)?;
    let left = || {
        deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1))
    };
    id.resolve_address(peer, left())?;
    resolved(channel.next(deadline, "resolving the peer's address")?)?;
    id.resolve_route(left())?;
    resolved(channel.next(deadline, "resolving the route")?)?;
    Ok(Arc::new(id))
}

fn resolved(event: Event) -> Result<()> {
    match event.kind {
        EventKind::Resolved => Ok(()),
        _ => Err(Error::Connection {
            event: event.name,
            status: event.status,
        }),
    }
}
