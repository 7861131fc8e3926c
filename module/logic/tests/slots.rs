//! Every slot has exactly one place, inside its chunk.

use proptest::prelude::*;
use remoteswap_logic::slots::*;
use remoteswap_logic::wire::Chunk;

fn layouts() -> impl Strategy<Value = Layout> {
    (20u32..40, 1u64..1 << 36).prop_map(|(shift, pages)| {
        let chunk = 1u64 << shift;
        // Chunk counts are 32 bits wide on the wire.
        let pages = pages.min((chunk / PAGE_BYTES) << 31);
        let bytes = pages * PAGE_BYTES;
        Layout::new(bytes, chunk, bytes.div_ceil(chunk) as u32).unwrap()
    })
}

proptest! {
    #[test]
    fn places_are_linear_and_inside(layout in layouts(), pick: prop::sample::Index) {
        let slot = pick.index(layout.pages() as usize) as u64;
        let place = layout.place(slot).unwrap();
        prop_assert!(place.chunk < layout.chunks());
        prop_assert!(place.offset + PAGE_BYTES <= layout.bytes_of(place.chunk).unwrap());
        prop_assert_eq!(u64::from(place.chunk) * layout.chunk_bytes() + place.offset, slot * PAGE_BYTES);
    }

    #[test]
    fn nothing_lies_past_the_end(layout in layouts(), beyond: u64) {
        prop_assert_eq!(layout.place(layout.pages().saturating_add(beyond)), None);
        prop_assert_eq!(layout.place(u64::MAX), None);
        prop_assert_eq!(layout.bytes_of(layout.chunks()), None);
    }

    #[test]
    fn no_sizes_upset_it(capacity: u64, chunk: u64, count: u32, slot: u64) {
        for chunk in [chunk, chunk.checked_next_power_of_two().unwrap_or(1 << 63)] {
            if let Ok(layout) = Layout::new(capacity & !4095, chunk, count) {
                let _ = layout.place(slot);
            }
        }
    }
}

#[test]
fn the_largest_server_works() {
    let layout = Layout::new(u64::MAX - 4095, 1 << 63, 2).unwrap();
    assert_eq!(layout.bytes_of(1), Some((1 << 63) - 4096));
    let last = layout.place(layout.pages() - 1).unwrap();
    assert_eq!(
        last,
        Place {
            chunk: 1,
            offset: (1 << 63) - 8192
        }
    );
}

#[test]
fn wrong_sizes_are_refused() {
    const MIB: u64 = 1 << 20;
    assert_eq!(
        Layout::new(MIB, MIB / 2, 2),
        Err(LayoutError::ChunkBytes(MIB / 2))
    );
    assert_eq!(
        Layout::new(MIB, 3 * MIB, 1),
        Err(LayoutError::ChunkBytes(3 * MIB))
    );
    assert_eq!(Layout::new(0, MIB, 0), Err(LayoutError::Capacity(0)));
    assert_eq!(
        Layout::new(MIB + 1, MIB, 2),
        Err(LayoutError::Capacity(MIB + 1))
    );
    assert_eq!(
        Layout::new(2 * MIB, MIB, 3),
        Err(LayoutError::ChunkCount(3))
    );
}

#[test]
fn remote_needs_a_table_that_does_not_wrap() {
    let layout = Layout::new(2 << 20, 1 << 20, 2).unwrap();
    let table = [
        Chunk {
            addr: 0x10_0000,
            rkey: 7,
        },
        Chunk {
            addr: u64::MAX - 4095,
            rkey: 8,
        },
    ];
    assert_eq!(layout.remote(&table, 1), Some((0x10_1000, 7)));
    assert_eq!(layout.remote(&table, 256), Some((u64::MAX - 4095, 8)));
    assert_eq!(layout.remote(&table, 257), None);
    assert_eq!(layout.remote(&table[..1], 256), None);
}
