//! Where the kernel keeps a page of this process, from `/proc/self/pagemap`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

/// What one 8-byte entry of pagemap says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// Mapped to memory.
    Memory,
    /// A swap entry; the page may still be in the swap cache as well.
    Swap {
        /// Number of the swap area.
        area: u8,
        /// Slot in that area.
        slot: u64,
    },
    /// Neither.
    Nowhere,
}

const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;

impl Place {
    /// Decodes an entry (Documentation/admin-guide/mm/pagemap.rst).
    pub fn decode(entry: u64) -> Place {
        if entry & PRESENT != 0 {
            Place::Memory
        } else if entry & SWAPPED != 0 {
            Place::Swap {
                area: (entry & 0x1f) as u8,
                slot: (entry >> 5) & ((1 << 50) - 1),
            }
        } else {
            Place::Nowhere
        }
    }
}

/// The places of `count` pages from address `start` on.
pub fn places(start: usize, count: usize) -> io::Result<Vec<Place>> {
    let pagemap = File::open("/proc/self/pagemap")?;
    let mut bytes = vec![0; count * 8];
    let first = (start / crate::pattern::PAGE) as u64;
    pagemap.read_exact_at(&mut bytes, first * 8)?;
    Ok(bytes
        .chunks_exact(8)
        .map(|entry| {
            let mut word = [0; 8];
            word.copy_from_slice(entry);
            Place::decode(u64::from_ne_bytes(word))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn area_and_slot_are_found_whatever_the_flags_between(
            area in 0..32u8, slot in 0..1u64 << 50, flags in 0..128u64,
        ) {
            let entry = SWAPPED | ((flags << 55) & !PRESENT & !SWAPPED) | (slot << 5) | u64::from(area);
            prop_assert_eq!(Place::decode(entry), Place::Swap { area, slot });
        }
    }

    #[test]
    fn a_touched_page_is_in_memory() {
        let page = vec![1u8; 2 * crate::pattern::PAGE];
        let inside = page.as_ptr() as usize + crate::pattern::PAGE;
        assert_eq!(places(inside, 1).expect("pagemap"), vec![Place::Memory]);
    }
}
