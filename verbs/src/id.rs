//! `rdma_cm_id`: one end of a connection, or a listener.

use std::ffi::CStr;
use std::net::SocketAddr;
use std::time::Duration;

use rdma_sys as sys;

use crate::address::{from_sockaddr, with_sockaddr};
use crate::channel::EventChannel;
use crate::error::{Error, Result};

/// Names an identifier in events. Never reused while the identifier lives, and
/// no event of a dropped identifier arrives any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(usize);

impl Key {
    pub(crate) fn of(raw: *const sys::rdma_cm_id) -> Key {
        Key(raw as usize)
    }
}

/// A connection identifier.
///
/// # Invariants
///
/// `raw` is a live identifier on `channel` that only `drop` destroys, with no
/// event unacknowledged (the channel acknowledges before it hands one out).
#[derive(Debug)]
pub struct Id {
    raw: *mut sys::rdma_cm_id,
    // Declared after `raw` and dropped after `Drop::drop` ran: the channel
    // outlives the identifier.
    _channel: EventChannel,
}

// SAFETY: librdmacm's calls on identifiers are thread-safe; fields read here
// (`verbs`, `port_num`, addresses) change only within calls made through `self`
// or while an event is fetched, before its state is acted on.
unsafe impl Send for Id {}
// SAFETY: as above.
unsafe impl Sync for Id {}

impl Id {
    /// A new identifier for reliable connections.
    pub fn new(channel: &EventChannel) -> Result<Id> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: a live channel and a place for the pointer.
        let code = unsafe {
            sys::rdma_create_id(
                channel.0.raw,
                &mut raw,
                std::ptr::null_mut(),
                sys::rdma_port_space::RDMA_PS_TCP,
            )
        };
        check(code, "create a connection identifier")?;
        Ok(Id {
            raw,
            _channel: channel.clone(),
        })
    }

    /// # Safety
    ///
    /// `raw` is the new identifier of a connection request on `channel`, and
    /// nobody else takes it.
    pub(crate) unsafe fn from_request(raw: *mut sys::rdma_cm_id, channel: EventChannel) -> Id {
        Id {
            raw,
            _channel: channel,
        }
    }

    pub(crate) fn raw(&self) -> *mut sys::rdma_cm_id {
        self.raw
    }

    /// What events call this identifier.
    pub fn key(&self) -> Key {
        Key::of(self.raw)
    }

    /// Binds to a local address; with it comes the device that has the address.
    pub fn bind(&self, address: SocketAddr) -> Result<()> {
        // SAFETY: a live identifier; the address is valid during the call.
        let code = with_sockaddr(address, |a| unsafe {
            sys::rdma_bind_addr(self.raw, a.cast())
        });
        check(code, "bind")
    }

    /// Starts to listen.
    pub fn listen(&self, backlog: i32) -> Result<()> {
        // SAFETY: a live identifier.
        check(unsafe { sys::rdma_listen(self.raw, backlog) }, "listen")
    }

    /// Starts to look for the device and the way to `peer`; an event follows.
    pub fn resolve_address(&self, peer: SocketAddr, timeout: Duration) -> Result<()> {
        // SAFETY: a live identifier; the address is valid during the call; the
        // source may be null.
        let code = with_sockaddr(peer, |a| unsafe {
            sys::rdma_resolve_addr(self.raw, std::ptr::null_mut(), a.cast(), millis(timeout))
        });
        check(code, "resolve the peer's address")
    }

    /// Starts to look for the route; an event follows.
    pub fn resolve_route(&self, timeout: Duration) -> Result<()> {
        // SAFETY: a live identifier.
        let code = unsafe { sys::rdma_resolve_route(self.raw, millis(timeout)) };
        check(code, "resolve the route")
    }

    /// Turns a connection request away.
    pub fn reject(self, private_data: &[u8]) -> Result<()> {
        let len = u8::try_from(private_data.len()).unwrap_or(u8::MAX);
        // SAFETY: a live identifier; at least `len` bytes behind the pointer.
        let code = unsafe { sys::rdma_reject(self.raw, private_data.as_ptr().cast(), len) };
        check(code, "reject")
    }

    /// The peer's address.
    pub fn peer(&self) -> Option<SocketAddr> {
        // SAFETY: the identifier's address storage holds any family.
        unsafe { from_sockaddr(&raw const (*self.raw).route.addr.dst_addr_union.dst_addr) }
    }

    /// Name of the device this is bound to.
    pub fn device(&self) -> Option<String> {
        let verbs = self.verbs().ok()?;
        // SAFETY: a context's device and its name live as long as the context.
        let name = unsafe { CStr::from_ptr(sys::ibv_get_device_name((*verbs).device)) };
        Some(name.to_string_lossy().into_owned())
    }

    pub(crate) fn verbs(&self) -> Result<*mut sys::ibv_context> {
        // SAFETY: a live identifier.
        let verbs = unsafe { (*self.raw).verbs };
        if verbs.is_null() {
            Err(Error::NoDevice)
        } else {
            Ok(verbs)
        }
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        // SAFETY: by the invariant alive, with its queue pair gone: only
        // `Connection` makes one, and destroys it before it lets go of this.
        unsafe { sys::rdma_destroy_id(self.raw) };
    }
}

pub(crate) fn check(code: i32, action: &'static str) -> Result<()> {
    if code == 0 {
        Ok(())
    } else {
        Err(Error::last(action))
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
