// SPDX-License-Identifier: GPL-2.0-only

//! A mutex, taken while a spinlock is held.

use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::{new_mutex, new_spinlock};

module! {
    type: AtomicSleep,
    name: "atomic_sleep",
    author: "Rapidswap",
    description: "May sleep where it must not",
    license: "GPL",
}

struct AtomicSleep;

impl kernel::Module for AtomicSleep {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let mutex = Arc::pin_init(new_mutex!(()), GFP_KERNEL)?;
        let spinlock = Arc::pin_init(new_spinlock!(()), GFP_KERNEL)?;
        let _atomic = spinlock.lock();
        let _sleeps = mutex.lock();
        Ok(AtomicSleep)
    }
}
