// SPDX-License-Identifier: GPL-2.0-only

//! Two locks, taken in either order. Nothing blocks: it is the order that
//! lockdep objects to.

use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::Arc;

module! {
    type: LockInversion,
    name: "lock_inversion",
    author: "Rapidswap",
    description: "Takes two locks in either order",
    license: "GPL",
}

struct LockInversion;

impl kernel::Module for LockInversion {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let first = Arc::pin_init(new_mutex!(()), GFP_KERNEL)?;
        let second = Arc::pin_init(new_mutex!(()), GFP_KERNEL)?;
        {
            let _outer = first.lock();
            let _inner = second.lock();
        }
        {
            let _outer = second.lock();
            let _inner = first.lock();
        }
        Ok(LockInversion)
    }
}
