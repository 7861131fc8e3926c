// SPDX-License-Identifier: GPL-2.0-only

//! A page's address as an adapter sees it.
//!
//! C header: `include/rdma/ib_verbs.h`, `ib_dma_*`. Takes no lock, allocates nothing of its own;
//! may be called under a spinlock. All local memory goes by `pd->local_dma_lkey`, so there is
//! nothing to register.

use super::bindings;
use super::qp::Qp;
use core::ptr::NonNull;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;

/// Who writes to the memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// Nobody: the adapter reads it.
    ToDevice,
    /// The adapter.
    FromDevice,
}

impl Direction {
    fn raw(self) -> bindings::dma_data_direction {
        match self {
            Direction::ToDevice => bindings::dma_data_direction_DMA_TO_DEVICE,
            Direction::FromDevice => bindings::dma_data_direction_DMA_FROM_DEVICE,
        }
    }
}

/// A page mapped for one device. Unmapped when dropped, which must be before the queue pair goes.
///
/// # Invariants
///
/// `addr` is what mapping `len` bytes in `direction` on `device` gave, and not yet unmapped.
pub(super) struct Mapping {
    device: NonNull<bindings::ib_device>,
    addr: u64,
    len: u32,
    direction: Direction,
}

impl Mapping {
    /// Maps the first `len` bytes.
    pub(super) fn new(
        qp: &Qp,
        page: NonNull<bindings::page>,
        len: u32,
        direction: Direction,
    ) -> Result<Mapping> {
        if len as usize > PAGE_SIZE {
            return Err(EINVAL);
        }
        let device = qp.device();
        // SAFETY: The device is there as long as `qp`, and the page is allocated.
        let addr = unsafe {
            bindings::remoteswap_shim_map_page(
                device.as_ptr(),
                page.as_ptr(),
                0,
                len as usize,
                direction.raw(),
            )
        };
        // SAFETY: As above.
        if unsafe { bindings::remoteswap_shim_map_error(device.as_ptr(), addr) } != 0 {
            // Of addresses or of bounce buffers there may be enough again soon.
            return Err(ENOMEM);
        }
        // INVARIANT: Just mapped.
        Ok(Mapping {
            device,
            addr,
            len,
            direction,
        })
    }

    /// The address for a work request.
    pub(super) fn addr(&self) -> u64 {
        self.addr
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: By the type invariants. Mappings live in slots, which are emptied before the
        // identifiers of their queue pairs go, and in queue pairs.
        unsafe {
            bindings::remoteswap_shim_unmap_page(
                self.device.as_ptr(),
                self.addr,
                self.len as usize,
                self.direction.raw(),
            )
        };
    }
}
