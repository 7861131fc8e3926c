// SPDX-License-Identifier: GPL-2.0-only

//! An index that is out of bounds, which Rust finds.

use core::hint::black_box;
use kernel::prelude::*;

module! {
    type: RustPanic,
    name: "rust_panic",
    author: "Rapidswap",
    description: "Panics in Rust",
    license: "GPL",
}

struct RustPanic;

impl kernel::Module for RustPanic {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let numbers = [1, 2, 3];
        let number = numbers[black_box(numbers.len())];
        pr_info!("{}\n", number);
        Ok(RustPanic)
    }
}
