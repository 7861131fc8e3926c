// SPDX-License-Identifier: GPL-2.0-only

//! A page of the module's own that an adapter may read or write.
//!
//! Takes no lock. [`Scratch::new`] allocates and may sleep, nothing else does.

use super::bindings;
use super::operation::Memory;
use core::ptr::NonNull;
use kernel::page::{Page, PAGE_SIZE};
use kernel::prelude::*;

/// The page. It is handed over by value while an adapter uses it.
pub(crate) struct Scratch(Page);

impl Scratch {
    /// A page of zeroes.
    pub(crate) fn new() -> Result<Scratch> {
        let page = Page::alloc_page(GFP_KERNEL)?;
        // SAFETY: Nobody else has this page.
        unsafe { page.fill_zero_raw(0, PAGE_SIZE)? };
        Ok(Scratch(page))
    }

    /// Copies bytes out, from `offset` on.
    pub(crate) fn read(&self, offset: usize, bytes: &mut [u8]) -> Result {
        // SAFETY: `bytes` is valid for writes of its length. Who owns the page is not letting an
        // adapter use it, and `&self` says that nobody writes to it here.
        unsafe { self.0.read_raw(bytes.as_mut_ptr(), offset, bytes.len()) }
    }

    /// Overwrites the page's first bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result {
        // SAFETY: `bytes` is valid for reads of its length, and the page is ours alone.
        unsafe { self.0.write_raw(bytes.as_ptr(), 0, bytes.len()) }
    }
}

// SAFETY: The page is allocated as long as the `Scratch` is not dropped.
unsafe impl Memory for Scratch {
    fn page(&self) -> NonNull<bindings::page> {
        // SAFETY: `Page` never holds null.
        unsafe { NonNull::new_unchecked(self.0.as_ptr().cast()) }
    }
}
