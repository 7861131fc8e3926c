//! `rdma_event_channel`: where the connection manager reports.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rdma_sys as sys;
use sys::rdma_cm_event_type as ty;

use crate::error::{Error, Result};
use crate::id::{Id, Key};

/// # Invariants
///
/// `raw` came from `rdma_create_event_channel` and is destroyed only in `drop`;
/// every `Id` made on it holds an `Arc` of this.
#[derive(Debug)]
pub(crate) struct RawChannel {
    pub(crate) raw: *mut sys::rdma_event_channel,
}

// SAFETY: librdmacm's calls on a channel are thread-safe.
unsafe impl Send for RawChannel {}
// SAFETY: as above; the struct itself is never written after creation.
unsafe impl Sync for RawChannel {}

impl Drop for RawChannel {
    fn drop(&mut self) {
        // SAFETY: by the invariant this is the last use of a live channel.
        unsafe { sys::rdma_destroy_event_channel(self.raw) };
    }
}

/// Where connection events arrive. Clones are the same channel.
#[derive(Clone, Debug)]
pub struct EventChannel(pub(crate) Arc<RawChannel>);

/// What happened.
#[derive(Debug)]
pub enum EventKind {
    /// Somebody wants to connect: the new identifier, to accept or reject.
    ConnectRequest {
        /// The connection to be.
        id: Id,
        /// READs the requester wants to have outstanding towards this side.
        responder_resources: u8,
        /// READs the requester can serve.
        initiator_depth: u8,
    },
    /// The connection stands.
    Established,
    /// The peer said no.
    Rejected,
    /// The connection is over, or never came about.
    Disconnected,
    /// The adapter is going away.
    DeviceRemoval,
    /// An address or route step succeeded.
    Resolved,
    /// Nothing that needs acting on.
    Other,
}

/// One report of the connection manager, already acknowledged.
#[derive(Debug)]
pub struct Event {
    /// Which identifier it is about; for a request the listener's.
    pub key: Key,
    /// What happened.
    pub kind: EventKind,
    /// The C library's name of it.
    pub name: &'static str,
    /// Its status: 0, a negative errno or the transport's reason.
    pub status: i32,
    /// What the peer attached, padded with zeroes by the transport.
    pub private_data: Vec<u8>,
}

impl EventChannel {
    /// A new channel; fails if rdma-core or the kernel's rdma_cm is missing.
    pub fn new() -> Result<EventChannel> {
        // SAFETY: no preconditions.
        let raw = unsafe { sys::rdma_create_event_channel() };
        if raw.is_null() {
            let error = Error::last("open the RDMA connection manager");
            return Err(match error.errno() {
                Some(nix::libc::ENODEV | nix::libc::ENOENT) => Error::NoDevice,
                _ => error,
            });
        }
        // INVARIANT: fresh from rdma_create_event_channel.
        let channel = EventChannel(Arc::new(RawChannel { raw }));
        // Events are awaited with poll, so that there can be a deadline.
        let flags = fcntl(channel.raw_fd(), FcntlArg::F_GETFL)
            .map(OFlag::from_bits_retain)
            .map_err(|e| Error::code("read the event channel's flags", e as i32))?;
        fcntl(
            channel.raw_fd(),
            FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK),
        )
        .map_err(|e| Error::code("make the event channel non-blocking", e as i32))?;
        Ok(channel)
    }

    fn raw_fd(&self) -> i32 {
        // SAFETY: the channel lives as long as `self`.
        unsafe { (*self.0.raw).fd }
    }

    /// The next event if one is there.
    pub fn try_next(&self) -> Result<Option<Event>> {
        let mut event = std::ptr::null_mut();
        // SAFETY: a live channel and a place for the pointer.
        if unsafe { sys::rdma_get_cm_event(self.0.raw, &mut event) } != 0 {
            return match Errno::last() {
                Errno::EAGAIN | Errno::EINTR => Ok(None),
                _ => Err(Error::last("get a connection event")),
            };
        }
        // SAFETY: the event is ours until it is acknowledged, and not used after.
        unsafe {
            let copy = self.copy(&*event);
            sys::rdma_ack_cm_event(event);
            Ok(Some(copy))
        }
    }

    /// The next event, awaited until `deadline`.
    pub fn next(&self, deadline: Instant, waiting_for: &'static str) -> Result<Event> {
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::TimedOut(waiting_for));
            }
            let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
            let timeout =
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(Error::code("wait for a connection event", e as i32)),
            }
        }
    }

    /// # Safety
    ///
    /// `event` came from `rdma_get_cm_event` on this channel and has not been
    /// acknowledged. Called once for each event: it takes over a request's id.
    unsafe fn copy(&self, event: &sys::rdma_cm_event) -> Event {
        // SAFETY: all events of RC connections use `conn`; for the others the
        // union is zeroed by librdmacm.
        let conn = unsafe { event.param.conn };
        let private_data = if conn.private_data.is_null() {
            Vec::new()
        } else {
            // SAFETY: librdmacm vouches for pointer and length until the ack.
            unsafe {
                std::slice::from_raw_parts(
                    conn.private_data.cast::<u8>(),
                    conn.private_data_len.into(),
                )
            }
            .to_vec()
        };
        let kind = match event.event {
            ty::RDMA_CM_EVENT_CONNECT_REQUEST => EventKind::ConnectRequest {
                // SAFETY: a new identifier that nobody else owns.
                id: unsafe { Id::from_request(event.id, self.clone()) },
                responder_resources: conn.responder_resources,
                initiator_depth: conn.initiator_depth,
            },
            ty::RDMA_CM_EVENT_ESTABLISHED => EventKind::Established,
            ty::RDMA_CM_EVENT_REJECTED => EventKind::Rejected,
            ty::RDMA_CM_EVENT_DISCONNECTED
            | ty::RDMA_CM_EVENT_CONNECT_ERROR
            | ty::RDMA_CM_EVENT_UNREACHABLE
            | ty::RDMA_CM_EVENT_ADDR_ERROR
            | ty::RDMA_CM_EVENT_ROUTE_ERROR => EventKind::Disconnected,
            ty::RDMA_CM_EVENT_DEVICE_REMOVAL => EventKind::DeviceRemoval,
            ty::RDMA_CM_EVENT_ADDR_RESOLVED | ty::RDMA_CM_EVENT_ROUTE_RESOLVED => {
                EventKind::Resolved
            }
            _ => EventKind::Other,
        };
        let about = match kind {
            EventKind::ConnectRequest { .. } => event.listen_id,
            _ => event.id,
        };
        Event {
            key: Key::of(about),
            kind,
            name: name(event.event),
            status: event.status,
            private_data,
        }
    }
}

impl AsFd for EventChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as the channel, which outlives
        // the borrow of `self`.
        unsafe { BorrowedFd::borrow_raw(self.raw_fd()) }
    }
}

fn name(event: ty::Type) -> &'static str {
    match event {
        ty::RDMA_CM_EVENT_ADDR_RESOLVED => "address resolved",
        ty::RDMA_CM_EVENT_ADDR_ERROR => "address not found",
        ty::RDMA_CM_EVENT_ROUTE_RESOLVED => "route resolved",
        ty::RDMA_CM_EVENT_ROUTE_ERROR => "route not found",
        ty::RDMA_CM_EVENT_CONNECT_REQUEST => "connection requested",
        ty::RDMA_CM_EVENT_CONNECT_RESPONSE => "connection answered",
        ty::RDMA_CM_EVENT_CONNECT_ERROR => "connection failed",
        ty::RDMA_CM_EVENT_UNREACHABLE => "peer unreachable",
        ty::RDMA_CM_EVENT_REJECTED => "connection rejected",
        ty::RDMA_CM_EVENT_ESTABLISHED => "connection established",
        ty::RDMA_CM_EVENT_DISCONNECTED => "peer disconnected",
        ty::RDMA_CM_EVENT_DEVICE_REMOVAL => "device removed",
        ty::RDMA_CM_EVENT_ADDR_CHANGE => "address changed",
        ty::RDMA_CM_EVENT_TIMEWAIT_EXIT => "time-wait over",
        _ => "unknown event",
    }
}
