// SPDX-License-Identifier: GPL-2.0-only

//! A read of memory that was freed, by code that is compiled from Rust.

use kernel::prelude::*;

module! {
    type: UseAfterFree,
    name: "use_after_free",
    author: "Rapidswap",
    description: "Reads memory that it freed",
    license: "GPL",
}

struct UseAfterFree;

impl kernel::Module for UseAfterFree {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let memory = KBox::into_raw(KBox::new([7u8; 64], GFP_KERNEL)?);
        // SAFETY: `memory` is from `KBox::into_raw` just now.
        drop(unsafe { KBox::from_raw(memory) });
        // SAFETY: None: this is the fault. The page that it is in stays mapped.
        let byte = unsafe { memory.cast::<u8>().read_volatile() };
        pr_info!("{}\n", byte);
        Ok(UseAfterFree)
    }
}
