//! A slot is one claimer's at a time.

use proptest::prelude::*;
use remoteswap_logic::bitmap::{Bitmap, MAX_SLOTS};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

proptest! {
    #[test]
    fn the_first_free_one_is_claimed(
        count in 0..=MAX_SLOTS,
        steps in prop::collection::vec(prop::option::weighted(0.4, any::<prop::sample::Index>()), 1..300),
    ) {
        let bitmap = Bitmap::new(count).expect("no more than there can be");
        let mut claimed = BTreeSet::new();
        for step in steps {
            match step {
                Some(pick) if !claimed.is_empty() => {
                    let slot = *pick.get(&claimed.iter().copied().collect::<Vec<_>>());
                    claimed.remove(&slot);
                    bitmap.release(slot);
                }
                _ => {
                    let free = (0..count as u8).find(|slot| !claimed.contains(slot));
                    prop_assert_eq!(bitmap.claim(), free);
                    claimed.extend(free);
                }
            }
            prop_assert_eq!(bitmap.is_full(), claimed.len() == count);
        }
    }
}

#[test]
fn there_are_no_more_than_bits() {
    assert!(Bitmap::new(MAX_SLOTS + 1).is_none());
    assert!(Bitmap::new(usize::MAX).is_none());
}

#[test]
fn threads_never_share_one() {
    const SLOTS: usize = 3;
    let bitmap = Bitmap::new(SLOTS).expect("no more than there can be");
    let owned = [const { AtomicBool::new(false) }; SLOTS];
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    let Some(slot) = bitmap.claim() else {
                        thread::yield_now();
                        continue;
                    };
                    let owned = &owned[usize::from(slot)];
                    assert!(!owned.swap(true, Ordering::Relaxed), "slot {slot} twice");
                    owned.store(false, Ordering::Relaxed);
                    bitmap.release(slot);
                }
            });
        }
    });
}
