// SPDX-License-Identifier: GPL-2.0-only

//! A function that a workqueue runs, now or after a while.
//!
//! C header: `include/linux/workqueue.h`.
//!
//! Locks: the workqueue's own, innermost. Allocates the workqueue, at load.
//! Each work has a queue of its own that reclaim may depend on, so that one of
//! them may sleep while another must run.

use super::bindings;
use core::ptr::NonNull;
use kernel::ffi::{c_int, c_uint};
use kernel::prelude::*;
use kernel::time::msecs_to_jiffies;
use kernel::types::Opaque;

/// A delayed work and the queue it runs on. Never runs beside itself.
///
/// # Invariants
///
/// `queue` is a live workqueue that this object owns, and `raw` is initialised.
#[pin_data(PinnedDrop)]
pub(crate) struct Delayed {
    #[pin]
    raw: Opaque<bindings::delayed_work>,
    queue: NonNull<bindings::workqueue_struct>,
    run: fn(),
}

// SAFETY: Works and workqueues are made to be used from several threads.
unsafe impl Send for Delayed {}
// SAFETY: As above.
unsafe impl Sync for Delayed {}

impl Delayed {
    /// Makes the queue. `run` is called for each [`Delayed::schedule`], or once for several.
    pub(crate) fn new(name: &'static CStr, run: fn()) -> impl PinInit<Self, Error> {
        // INVARIANT: `queue` was just made, and `raw` is initialised in place.
        try_pin_init!(Self {
            raw <- Opaque::ffi_init(|raw| {
                // SAFETY: `raw` is valid for writes and pinned; `call` has the right type.
                unsafe { bindings::remoteswap_shim_init_work(raw, Some(call)) }
            }),
            queue: allocate(name)?,
            run,
        })
    }

    /// Runs the function in `delay_ms`, whenever it was due before.
    pub(crate) fn schedule(&self, delay_ms: u32) {
        // SAFETY: By the type invariants.
        unsafe {
            bindings::mod_delayed_work_on(
                kernel::bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                self.queue.as_ptr(),
                self.raw.get(),
                msecs_to_jiffies(delay_ms),
            )
        };
    }

    /// Runs the function in `delay_ms`, unless it is due already.
    pub(crate) fn schedule_if_idle(&self, delay_ms: u32) {
        // SAFETY: By the type invariants.
        unsafe {
            bindings::queue_delayed_work_on(
                kernel::bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                self.queue.as_ptr(),
                self.raw.get(),
                msecs_to_jiffies(delay_ms),
            )
        };
    }

    /// Waits until the function does not run, and it never will again.
    pub(crate) fn stop(&self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::disable_delayed_work_sync(self.raw.get()) };
    }
}

#[pinned_drop]
impl PinnedDrop for Delayed {
    fn drop(self: Pin<&mut Self>) {
        self.stop();
        // SAFETY: By the type invariants; the only work of this queue cannot run again.
        unsafe { bindings::destroy_workqueue(self.queue.as_ptr()) };
    }
}

fn allocate(name: &'static CStr) -> Result<NonNull<bindings::workqueue_struct>> {
    let flags = bindings::wq_flags_WQ_UNBOUND | bindings::wq_flags_WQ_MEM_RECLAIM;
    // SAFETY: The format takes one string, and both are terminated.
    let queue = unsafe {
        bindings::alloc_workqueue(
            kernel::c_str!("%s").as_char_ptr(),
            flags as c_uint,
            1,
            name.as_char_ptr(),
        )
    };
    NonNull::new(queue).ok_or(ENOMEM)
}

/// # Safety
///
/// Called by the workqueue, with the work of a live [`Delayed`].
unsafe extern "C" fn call(work: *mut bindings::work_struct) {
    // `work` is the first field of `delayed_work`, which is at `raw`.
    let raw: *mut Opaque<bindings::delayed_work> = work.cast();
    // SAFETY: By this function's contract; `stop` waits for it before the object goes.
    let this = unsafe { &*kernel::container_of!(raw, Delayed, raw) };
    (this.run)();
}
