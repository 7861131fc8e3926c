//! What each page must hold, and the count of bytes that differ from it.
//!
//! Word `i` of page `p` is a bijective mix of its position and a seed: no two
//! words under one seed are equal, so that a page that comes back in another
//! page's place shows in every word, and nothing compresses or is all zero.

use serde::{Deserialize, Serialize};

/// Bytes in a page.
pub const PAGE: usize = 4096;

/// 8-byte words in a page.
pub const WORDS: usize = PAGE / 8;

/// Corrupt bytes whose position is reported; the rest are only counted.
pub const REPORTED: usize = 10;

/// The contents of a region of memory, named by a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    base: u64,
}

/// Where a byte differs from the pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Number of the page in its region.
    pub page: u64,
    /// Byte in the page.
    pub offset: u16,
}

/// What a verification saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Bytes compared, right and wrong ones.
    pub bytes_verified: u64,
    /// Bytes that differed.
    pub corrupt_bytes: u64,
    /// The first [`REPORTED`] of those.
    pub corrupt: Vec<Position>,
}

impl Pattern {
    /// The pattern of a seed.
    pub fn new(seed: u64) -> Pattern {
        Pattern { base: mix(seed) }
    }

    /// Word `index` of page `page`.
    pub fn word(self, page: u64, index: usize) -> u64 {
        mix(self
            .base
            .wrapping_add(page * WORDS as u64)
            .wrapping_add(index as u64))
    }

    /// Writes page `page`.
    pub fn fill(self, page: u64, words: &mut [u64]) {
        for (index, word) in words.iter_mut().enumerate() {
            *word = self.word(page, index);
        }
    }

    /// Compares every byte of page `page`, and adds what it saw to `tally`.
    pub fn verify(self, page: u64, words: &[u64], tally: &mut Tally) {
        let expected = (0..).map(|index| self.word(page, index));
        tally.compare(page, words, expected);
    }
}

impl Tally {
    /// Compares every byte that was found in page `page`.
    pub fn compare(&mut self, page: u64, found: &[u64], expected: impl IntoIterator<Item = u64>) {
        for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
            self.compare_word(page, index, *found, expected);
        }
    }

    /// Compares one word of page `page`.
    pub fn compare_word(&mut self, page: u64, index: usize, found: u64, expected: u64) {
        self.bytes_verified += size_of_val(&found) as u64;
        let wrong = found ^ expected;
        if wrong != 0 {
            self.note(page, index, wrong);
        }
    }

    fn note(&mut self, page: u64, index: usize, wrong: u64) {
        for (byte, bits) in wrong.to_ne_bytes().into_iter().enumerate() {
            if bits != 0 {
                self.corrupt_bytes += 1;
                if self.corrupt.len() < REPORTED {
                    self.corrupt.push(Position {
                        page,
                        offset: (index * 8 + byte) as u16,
                    });
                }
            }
        }
    }

    /// Adds another verification's findings to this one's.
    pub fn add(&mut self, other: Tally) {
        self.bytes_verified += other.bytes_verified;
        self.corrupt_bytes += other.corrupt_bytes;
        let room = REPORTED.saturating_sub(self.corrupt.len());
        self.corrupt.extend(other.corrupt.into_iter().take(room));
    }
}

/// A bijection of 64-bit words with good avalanche (xor-shifts and odd
/// multipliers, each of which is invertible).
pub(crate) fn mix(mut x: u64) -> u64 {
    x ^= x >> 30;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn page(pattern: Pattern, number: u64) -> Vec<u64> {
        let mut words = vec![0; WORDS];
        pattern.fill(number, &mut words);
        words
    }

    proptest! {
        #[test]
        fn what_is_filled_verifies(seed: u64, number in 0..1u64 << 40) {
            let pattern = Pattern::new(seed);
            let mut tally = Tally::default();
            pattern.verify(number, &page(pattern, number), &mut tally);
            prop_assert_eq!(tally.bytes_verified, PAGE as u64);
            prop_assert_eq!(tally.corrupt_bytes, 0);
        }

        #[test]
        fn one_flipped_bit_is_one_corrupt_byte_in_its_place(
            seed: u64, number in 0..1u64 << 40, bit in 0..PAGE * 8,
        ) {
            let pattern = Pattern::new(seed);
            let mut words = page(pattern, number);
            let offset = bit / 8;
            let mut bytes = words[offset / 8].to_ne_bytes();
            bytes[offset % 8] ^= 1 << (bit % 8);
            words[offset / 8] = u64::from_ne_bytes(bytes);
            let mut tally = Tally::default();
            pattern.verify(number, &words, &mut tally);
            prop_assert_eq!(tally.corrupt_bytes, 1);
            let position = Position { page: number, offset: offset as u16 };
            prop_assert_eq!(tally.corrupt, vec![position]);
        }

        #[test]
        fn another_page_differs_in_every_word(seed: u64, a in 0..1u64 << 40, b in 0..1u64 << 40) {
            prop_assume!(a != b);
            let pattern = Pattern::new(seed);
            let different = page(pattern, a).iter().zip(page(pattern, b)).filter(|&(a, b)| *a != b).count();
            prop_assert_eq!(different, WORDS);
        }

        #[test]
        fn tallies_add_up_and_report_no_more_than_the_first(bad in proptest::collection::vec(0..WORDS, 0..8)) {
            let pattern = Pattern::new(7);
            let mut sum = Tally::default();
            for (number, &index) in bad.iter().enumerate() {
                let mut words = page(pattern, number as u64);
                words[index] ^= u64::MAX;
                let mut one = Tally::default();
                pattern.verify(number as u64, &words, &mut one);
                sum.add(one);
            }
            prop_assert_eq!(sum.corrupt_bytes, 8 * bad.len() as u64);
            prop_assert_eq!(sum.corrupt.len(), REPORTED.min(8 * bad.len()));
        }
    }

    #[test]
    fn no_word_of_a_region_occurs_twice_and_no_page_is_zero() {
        let pattern = Pattern::new(42);
        let mut seen = HashSet::new();
        for number in 0..256 {
            let words = page(pattern, number);
            assert!(words.iter().filter(|&&word| word == 0).count() <= 1);
            assert!(words.into_iter().all(|word| seen.insert(word)));
        }
    }
}
