//! `ibv_pd` and `ibv_mr`: what a queue pair may touch.

use std::sync::Arc;

use rdma_sys as sys;
use sys::ibv_access_flags as flag;

use crate::error::{Error, Result};
use crate::id::Id;
use crate::memory::Memory;

/// # Invariants
///
/// `raw` was allocated on the context of `id` and is freed only in `drop`; all
/// that is made in the domain holds an `Arc` of it.
#[derive(Debug)]
struct RawDomain {
    raw: *mut sys::ibv_pd,
    id: Arc<Id>,
}

// SAFETY: verbs are thread-safe.
unsafe impl Send for RawDomain {}
// SAFETY: as above; never written after creation.
unsafe impl Sync for RawDomain {}

impl Drop for RawDomain {
    fn drop(&mut self) {
        // SAFETY: by the invariant nothing is left in the domain.
        unsafe { sys::ibv_dealloc_pd(self.raw) };
    }
}

/// A protection domain. Clones are the same domain.
#[derive(Clone, Debug)]
pub struct Domain(Arc<RawDomain>);

impl Domain {
    /// A new domain on the device `id` is bound to; keeps `id` alive, because
    /// librdmacm closes the device with its last identifier.
    pub fn new(id: &Arc<Id>) -> Result<Domain> {
        // SAFETY: the context is open as long as `id` lives.
        let raw = unsafe { sys::ibv_alloc_pd(id.verbs()?) };
        if raw.is_null() {
            return Err(Error::last("allocate a protection domain"));
        }
        // INVARIANT: just allocated on that context.
        Ok(Domain(Arc::new(RawDomain {
            raw,
            id: id.clone(),
        })))
    }

    pub(crate) fn raw(&self) -> *mut sys::ibv_pd {
        self.0.raw
    }

    pub(crate) fn verbs(&self) -> Result<*mut sys::ibv_context> {
        self.0.id.verbs()
    }

    /// Lets the adapter, and with `Access::Remote` a peer, at `memory`.
    pub fn register(&self, memory: &Arc<Memory>, access: Access) -> Result<Region> {
        let flags = match access {
            Access::Local => flag::IBV_ACCESS_LOCAL_WRITE,
            // Never relaxed ordering: what a READ sees after a WRITE must not
            // depend on the bus.
            Access::Remote => {
                flag::IBV_ACCESS_LOCAL_WRITE
                    | flag::IBV_ACCESS_REMOTE_READ
                    | flag::IBV_ACCESS_REMOTE_WRITE
            }
        };
        // SAFETY: the range is a mapping that the region keeps alive.
        let raw =
            unsafe { sys::ibv_reg_mr(self.raw(), memory.as_ptr(), memory.len(), flags.0 as i32) };
        if raw.is_null() {
            return Err(Error::last("register memory"));
        }
        // INVARIANT: just registered, over this memory, in this domain.
        Ok(Region {
            raw,
            memory: memory.clone(),
            _domain: self.clone(),
        })
    }
}

/// Who may use a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// This side's own work requests.
    Local,
    /// Also the peer's READs and WRITEs.
    Remote,
}

/// A memory region.
///
/// # Invariants
///
/// `raw` is registered over all of `memory` and only `drop` takes it back.
#[derive(Debug)]
pub struct Region {
    raw: *mut sys::ibv_mr,
    memory: Arc<Memory>,
    _domain: Domain,
}

// SAFETY: verbs are thread-safe.
unsafe impl Send for Region {}
// SAFETY: as above; never written after creation.
unsafe impl Sync for Region {}

impl Region {
    /// The memory behind it.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Address of its first byte.
    pub fn addr(&self) -> u64 {
        self.memory.addr()
    }

    /// The key a peer needs.
    pub fn rkey(&self) -> u32 {
        // SAFETY: by the invariant a live region.
        unsafe { (*self.raw).rkey }
    }

    /// A piece of it for a work request.
    pub(crate) fn piece(&self, offset: usize, len: usize) -> Result<sys::ibv_sge> {
        let size = self.memory.len();
        let error = Error::Range { offset, len, size };
        match (offset.checked_add(len), u32::try_from(len)) {
            (Some(end), Ok(length)) if end <= size => Ok(sys::ibv_sge {
                addr: self.addr() + offset as u64,
                length,
                // SAFETY: by the invariant a live region.
                lkey: unsafe { (*self.raw).lkey },
            }),
            _ => Err(error),
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: by the invariant still registered.
        if unsafe { sys::ibv_dereg_mr(self.raw) } != 0 {
            // The adapter may still reach the memory: it must never be reused.
            std::mem::forget(self.memory.clone());
        }
    }
}
