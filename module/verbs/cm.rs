// SPDX-License-Identifier: GPL-2.0-only

//! One `rdma_cm` identifier: the way to a connection.
//!
//! C header: `include/rdma/rdma_cm.h`.
//!
//! Lock order: the identifier's handler mutex (held by the core around [`handler`]), then
//! `Mailbox::mail`. The session's worker takes `mail` alone. Everything but [`Mailbox::cancel`]
//! is for that worker only, which may sleep and allocate.

use super::bindings;
use super::mail::{Event, Mailbox};
use super::pd::Pd;
use core::net::Ipv4Addr;
use core::ptr::{self, NonNull};
use kernel::error::{from_err_ptr, to_result};
use kernel::ffi::{c_int, c_void};
use kernel::prelude::*;
use kernel::sync::Arc;

/// An identifier.
///
/// # Invariants
///
/// `raw` is a live identifier that this object owns, and its context is `mailbox`.
pub(crate) struct CmId {
    raw: NonNull<bindings::rdma_cm_id>,
    mailbox: Arc<Mailbox>,
}

// SAFETY: The core locks its identifiers.
unsafe impl Send for CmId {}
// SAFETY: As above.
unsafe impl Sync for CmId {}

/// How a connection is asked for.
pub(crate) struct Request<'a> {
    /// What the peer is told.
    pub(crate) private: &'a [u8],
    /// READs that may be outstanding, less if the device says so.
    pub(crate) reads: u8,
    pub(crate) retry_count: u8,
    pub(crate) rnr_retry_count: u8,
}

impl CmId {
    /// An identifier that reports to `mailbox`.
    pub(crate) fn new(mailbox: &Arc<Mailbox>) -> Result<Arc<CmId>> {
        let context: *const Mailbox = &**mailbox;
        // SAFETY: The context is kept by the object that owns the identifier, and `handler` is
        // not called once the identifier is destroyed.
        let raw = from_err_ptr(unsafe {
            bindings::__rdma_create_kernel_id(
                ptr::addr_of_mut!(bindings::init_net),
                Some(handler),
                context as *mut c_void,
                bindings::rdma_ucm_port_space_RDMA_PS_TCP,
                bindings::ib_qp_type_IB_QPT_RC,
                super::NAME.as_char_ptr(),
            )
        })?;
        // INVARIANT: Just made.
        let id = CmId {
            raw: NonNull::new(raw).ok_or(ENOMEM)?,
            mailbox: mailbox.clone(),
        };
        Ok(Arc::new(id, GFP_KERNEL)?)
    }

    /// Starts to look for the device that leads to the peer.
    pub(crate) fn resolve_address(&self, ip: Ipv4Addr, port: u16, timeout_ms: u32) -> Result {
        let peer = bindings::sockaddr_in {
            sin_family: bindings::AF_INET as u16,
            sin_port: port.to_be(),
            sin_addr: bindings::in_addr {
                s_addr: u32::from(ip).to_be(),
            },
            ..Default::default()
        };
        // SAFETY: By the type invariants; the address is copied.
        to_result(unsafe {
            bindings::rdma_resolve_addr(
                self.raw.as_ptr(),
                ptr::null_mut(),
                ptr::addr_of!(peer).cast(),
                timeout_ms as usize,
            )
        })
    }

    /// Starts to look for the path to the peer.
    pub(crate) fn resolve_route(&self, timeout_ms: u32) -> Result {
        // SAFETY: By the type invariants.
        to_result(unsafe { bindings::rdma_resolve_route(self.raw.as_ptr(), timeout_ms as usize) })
    }

    /// Starts to connect. The queue pair is there already.
    pub(crate) fn connect(&self, request: &Request<'_>) -> Result {
        let device = self.device()?;
        // SAFETY: The identifier keeps the device, and its attributes never change.
        let (initiate, respond) = unsafe {
            let attrs = &(*device.as_ptr()).attrs;
            (attrs.max_qp_init_rd_atom, attrs.max_qp_rd_atom)
        };
        let depth = |device: c_int| device.clamp(0, request.reads.into()) as u8;
        let mut param = bindings::rdma_conn_param {
            private_data: request.private.as_ptr().cast(),
            private_data_len: u8::try_from(request.private.len())?,
            initiator_depth: depth(initiate),
            responder_resources: depth(respond),
            retry_count: request.retry_count,
            rnr_retry_count: request.rnr_retry_count,
            ..Default::default()
        };
        // SAFETY: By the type invariants; the parameters are copied.
        to_result(unsafe { bindings::rdma_connect(self.raw.as_ptr(), &mut param) })
    }

    /// Tells the peer that this is the end, and moves the queue pair to the error state. Nothing,
    /// where there is no connection.
    pub(super) fn disconnect(&self) {
        self.mailbox.retire();
        // SAFETY: By the type invariants.
        unsafe { bindings::rdma_disconnect(self.raw.as_ptr()) };
    }

    /// The device, once the address is resolved. It stays as long as the identifier.
    pub(super) fn device(&self) -> Result<NonNull<bindings::ib_device>> {
        // SAFETY: By the type invariants. The core sets it before it reports the address.
        NonNull::new(unsafe { (*self.raw.as_ptr()).device }).ok_or(ENODEV)
    }

    /// Whether the device says that a WRITE has ended before the peer's memory has it.
    pub(super) fn is_iwarp(&self) -> Result<bool> {
        let device = self.device()?;
        // SAFETY: The identifier keeps the device, and its type never changes.
        let node_type = unsafe { (*device.as_ptr()).node_type };
        Ok(u32::from(node_type) == bindings::RDMA_NODE_RNIC)
    }

    /// Makes the queue pair, once.
    pub(super) fn create_qp(
        &self,
        pd: &Pd,
        attr: &mut bindings::ib_qp_init_attr,
    ) -> Result<NonNull<bindings::ib_qp>> {
        // SAFETY: By the type invariants, and `attr` names live queues.
        unsafe {
            if !(*self.raw.as_ptr()).qp.is_null() {
                return Err(EBUSY);
            }
            to_result(bindings::rdma_create_qp(
                self.raw.as_ptr(),
                pd.as_ptr(),
                attr,
            ))?;
            NonNull::new((*self.raw.as_ptr()).qp).ok_or(ENODEV)
        }
    }

    /// Destroys the queue pair. Only its owner calls this.
    pub(super) fn destroy_qp(&self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::rdma_destroy_qp(self.raw.as_ptr()) };
    }
}

impl Drop for CmId {
    fn drop(&mut self) {
        // Waits for a running handler and lets the device go.
        //
        // SAFETY: By the type invariants. What was made on the identifier holds a reference to
        // this object, so nothing of that is left. Never runs in `handler`, which has none.
        unsafe { bindings::rdma_destroy_id(self.raw.as_ptr()) };
    }
}

/// Passes an event on.
///
/// # Safety
///
/// Called by the core with an identifier of a [`CmId`] that still exists.
unsafe extern "C" fn handler(
    id: *mut bindings::rdma_cm_id,
    event: *mut bindings::rdma_cm_event,
) -> c_int {
    // SAFETY: By this function's contract, the context is the mailbox and the event is valid.
    let (mailbox, event) = unsafe { (&*(*id).context.cast::<Mailbox>(), &*event) };
    // SAFETY: The parameters are those of a connection: the port space has no others.
    let conn = unsafe { &event.param.conn };
    let len = usize::from(conn.private_data_len);
    let private = if conn.private_data.is_null() || len == 0 {
        &[]
    } else {
        // SAFETY: The core says how long it is, and keeps it for the call.
        unsafe { core::slice::from_raw_parts(conn.private_data.cast::<u8>(), len) }
    };
    match event.event {
        bindings::rdma_cm_event_type_RDMA_CM_EVENT_ADDR_RESOLVED => {
            mailbox.deliver(Event::AddressResolved)
        }
        bindings::rdma_cm_event_type_RDMA_CM_EVENT_ROUTE_RESOLVED => {
            mailbox.deliver(Event::RouteResolved)
        }
        bindings::rdma_cm_event_type_RDMA_CM_EVENT_ESTABLISHED => {
            mailbox.deliver(Event::Established {
                private: private.into(),
                reads: conn.initiator_depth,
            })
        }
        bindings::rdma_cm_event_type_RDMA_CM_EVENT_REJECTED => {
            // SAFETY: The identifier is valid; answers a static string for every number.
            let message = unsafe { super::text(bindings::rdma_reject_msg(id, event.status)) };
            mailbox.deliver(Event::Rejected {
                private: private.into(),
                message,
            })
        }
        other => {
            // SAFETY: Answers a static string for every number.
            let name = unsafe { super::text(bindings::rdma_event_msg(other)) };
            if other == bindings::rdma_cm_event_type_RDMA_CM_EVENT_DEVICE_REMOVAL {
                mailbox.remove(name);
            } else {
                mailbox.lose(name, event.status);
            }
        }
    }
    // Anything else would destroy the identifier under its owner.
    0
}
