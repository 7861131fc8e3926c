// SPDX-License-Identifier: GPL-2.0-only

//! Memory that nothing points to any more.

use kernel::prelude::*;

module! {
    type: Leak,
    name: "leak",
    author: "Rapidswap",
    description: "Forgets memory",
    license: "GPL",
}

struct Leak;

impl kernel::Module for Leak {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        for _ in 0..8 {
            let _ = KBox::into_raw(KBox::new([7u8; 256], GFP_KERNEL)?);
        }
        Ok(Leak)
    }
}
