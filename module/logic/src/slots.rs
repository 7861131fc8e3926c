// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! Where a swap slot's page lies in the server's memory.

use core::fmt;

use super::wire::{Chunk, Rep};

/// Bytes of a page, and so of a slot.
pub const PAGE_BYTES: u64 = 4096;
/// Smallest chunk a server may offer.
pub const MIN_CHUNK_BYTES: u64 = 1 << 20;

/// What is wrong with the sizes in a server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// Chunk size is no power of two, or below [`MIN_CHUNK_BYTES`].
    ChunkBytes(u64),
    /// Capacity is zero or not whole pages.
    Capacity(u64),
    /// The number of chunks is not what the capacity needs.
    ChunkCount(u32),
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            LayoutError::ChunkBytes(n) => {
                write!(f, "chunk size {n} is not a power of two of at least 1 MiB")
            }
            LayoutError::Capacity(n) => write!(f, "capacity {n} is not a number of whole pages"),
            LayoutError::ChunkCount(n) => write!(f, "{n} chunks do not make up the capacity"),
        }
    }
}

impl core::error::Error for LayoutError {}

/// A slot's chunk and the byte offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index into the chunk table.
    pub chunk: u32,
    /// Bytes from the chunk's start; a page fits behind it.
    pub offset: u64,
}

/// The linear map from slots to chunks.
///
/// # Invariants
///
/// `chunk_shift` is 20..=63, and `pages` slots of [`PAGE_BYTES`] need exactly
/// `chunks` chunks, so that every slot below `pages` has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pages: u64,
    chunk_shift: u32,
    chunks: u32,
}

impl Layout {
    /// Checks sizes and takes them on.
    pub fn new(capacity_bytes: u64, chunk_bytes: u64, chunks: u32) -> Result<Layout, LayoutError> {
        if !chunk_bytes.is_power_of_two() || chunk_bytes < MIN_CHUNK_BYTES {
            return Err(LayoutError::ChunkBytes(chunk_bytes));
        }
        if capacity_bytes == 0 || capacity_bytes % PAGE_BYTES != 0 {
            return Err(LayoutError::Capacity(capacity_bytes));
        }
        if capacity_bytes.div_ceil(chunk_bytes) != u64::from(chunks) {
            return Err(LayoutError::ChunkCount(chunks));
        }
        // INVARIANT: each was checked above.
        Ok(Layout {
            pages: capacity_bytes / PAGE_BYTES,
            chunk_shift: chunk_bytes.trailing_zeros(),
            chunks,
        })
    }

    /// The layout a server's answer describes.
    pub fn from_rep(rep: &Rep) -> Result<Layout, LayoutError> {
        Layout::new(rep.capacity_bytes, rep.chunk_bytes, rep.chunk_count)
    }

    /// Slots that have a place.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Entries of the chunk table.
    pub fn chunks(&self) -> u32 {
        self.chunks
    }

    /// Size of every chunk but perhaps the last.
    pub fn chunk_bytes(&self) -> u64 {
        1 << self.chunk_shift
    }

    /// Bytes of one chunk; the last may be shorter. `None` past the end.
    pub fn bytes_of(&self, chunk: u32) -> Option<u64> {
        if chunk >= self.chunks {
            return None;
        }
        // Neither overflows: the whole capacity fits in a u64 and this chunk
        // starts below it.
        let start = u64::from(chunk) << self.chunk_shift;
        Some((self.pages * PAGE_BYTES - start).min(self.chunk_bytes()))
    }

    /// Where a slot lies; `None` for slots the server has no room for.
    pub fn place(&self, slot: u64) -> Option<Place> {
        if slot >= self.pages {
            return None;
        }
        let byte = slot * PAGE_BYTES;
        Some(Place {
            // Below `chunks`, which is a u32.
            chunk: (byte >> self.chunk_shift) as u32,
            offset: byte & (self.chunk_bytes() - 1),
        })
    }

    /// Remote address and key of a slot. `None` also for a table that is too
    /// short or holds an address that would wrap around.
    pub fn remote(&self, table: &[Chunk], slot: u64) -> Option<(u64, u32)> {
        let place = self.place(slot)?;
        let chunk = table.get(place.chunk as usize)?;
        let addr = chunk.addr.checked_add(place.offset)?;
        addr.checked_add(PAGE_BYTES - 1)?;
        Some((addr, chunk.rkey))
    }
}
