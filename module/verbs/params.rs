// SPDX-License-Identifier: GPL-2.0-only

//! Module parameters as they were typed.
//!
//! Takes no lock, allocates nothing.

use super::bindings;
use kernel::ffi::c_char;
use kernel::prelude::*;

/// What was given, each `None` where nothing was.
#[derive(Clone, Copy)]
pub(crate) struct Given {
    pub(crate) sip: Option<&'static CStr>,
    pub(crate) sport: Option<&'static CStr>,
    pub(crate) rmsize: Option<&'static CStr>,
    pub(crate) store_depth: Option<&'static CStr>,
    pub(crate) store_timeout_ms: Option<&'static CStr>,
    pub(crate) load_timeout_ms: Option<&'static CStr>,
    pub(crate) keepalive_ms: Option<&'static CStr>,
}

impl Given {
    /// Reads all of them. They cannot change: none is writable.
    pub(crate) fn read() -> Given {
        let mut raw = bindings::remoteswap_params::default();
        // SAFETY: `raw` is valid for writes.
        unsafe { bindings::remoteswap_shim_params(&mut raw) };
        Given {
            sip: text(raw.sip),
            sport: text(raw.sport),
            rmsize: text(raw.rmsize),
            store_depth: text(raw.store_depth),
            store_timeout_ms: text(raw.store_timeout_ms),
            load_timeout_ms: text(raw.load_timeout_ms),
            keepalive_ms: text(raw.keepalive_ms),
        }
    }
}

fn text(raw: *const c_char) -> Option<&'static CStr> {
    if raw.is_null() {
        return None;
    }
    // SAFETY: The kernel's `charp` parameters are terminated, and are kept until after the
    // module's exit.
    Some(unsafe { CStr::from_char_ptr(raw) })
}
