// SPDX-License-Identifier: GPL-2.0-only

//! The time: that of one clock, which never goes back.

use kernel::time::Ktime;

/// In milliseconds.
pub(crate) fn now_ms() -> u64 {
    Ktime::ktime_get().to_ms() as u64
}

/// In nanoseconds.
pub(crate) fn now_ns() -> u64 {
    Ktime::ktime_get().to_ns() as u64
}
