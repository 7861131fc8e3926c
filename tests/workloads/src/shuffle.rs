//! Orders in which pages are visited.

use crate::pattern::mix;

/// A generator of reproducible pseudo-random numbers (a counter, mixed).
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Random {
        Random { state: mix(seed) }
    }

    /// The next number below `bound`, which must not be 0. The bias of the
    /// multiplication is below one in 2^32 for the bounds used here.
    pub fn below(&mut self, bound: u32) -> u32 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let high = mix(self.state) >> 32;
        ((high * u64::from(bound)) >> 32) as u32
    }
}

/// `0..count` in an order that depends on `seed` alone, each number once.
pub fn shuffled(count: u32, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count).collect();
    let mut random = Random::new(seed);
    for left in (1..order.len()).rev() {
        order.swap(left, random.below(left as u32 + 1) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_number_comes_once(count in 0..5000u32, seed: u64) {
            let mut order = shuffled(count, seed);
            order.sort_unstable();
            prop_assert_eq!(order, (0..count).collect::<Vec<_>>());
        }

        #[test]
        fn numbers_stay_below_their_bound(seed: u64, bound in 1..u32::MAX) {
            let mut random = Random::new(seed);
            prop_assert!((0..100).all(|_| random.below(bound) < bound));
        }
    }

    #[test]
    fn orders_of_two_seeds_differ() {
        assert_ne!(shuffled(1000, 1), shuffled(1000, 2));
        assert_eq!(shuffled(1000, 1), shuffled(1000, 1));
    }
}
