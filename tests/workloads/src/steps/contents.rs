//! What a step says that pages hold.

use std::num::NonZeroU64;
use std::str::FromStr;

use anyhow::{Context, Error, Result};

use crate::pattern::{Pattern, Tally, WORDS};

/// `SEED`: each page what the seed names. `SEED/N`: every page what the seed
/// names for one of the first N, in turn, so that many are alike. `zero`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Nothing but zeros.
    Zero,
    /// A pattern.
    Named(Pattern),
    /// A pattern that comes again after so many pages.
    Repeated(Pattern, NonZeroU64),
}

impl Contents {
    /// What a page holds.
    pub fn page(self, number: usize) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        match self {
            Contents::Zero => {}
            Contents::Named(pattern) => pattern.fill(number as u64, &mut words),
            Contents::Repeated(pattern, period) => {
                pattern.fill(number as u64 % period, &mut words);
            }
        }
        words
    }

    /// Compares every byte that was found in a page.
    pub fn check(self, number: usize, found: &[u64; WORDS], tally: &mut Tally) {
        tally.compare(number as u64, found, self.page(number));
    }
}

impl FromStr for Contents {
    type Err = Error;

    fn from_str(text: &str) -> Result<Contents> {
        let what = || format!("no contents `{text}`");
        if text == "zero" {
            return Ok(Contents::Zero);
        }
        let (seed, period) = match text.split_once('/') {
            Some((seed, period)) => (seed, Some(period.parse().with_context(what)?)),
            None => (text, None),
        };
        let pattern = Pattern::new(seed.parse().with_context(what)?);
        Ok(match period {
            Some(period) => Contents::Repeated(pattern, period),
            None => Contents::Named(pattern),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(text: &str) -> Contents {
        text.parse().expect("contents")
    }

    #[test]
    fn pages_are_alike_as_far_as_said() {
        assert_ne!(contents("1").page(1), contents("1").page(4));
        assert_eq!(contents("1/3").page(4), contents("1").page(1));
        assert_eq!(contents("zero").page(4), [0; WORDS]);
        for text in ["", "one", "1/", "1/0", "zero/2"] {
            assert!(text.parse::<Contents>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_wrong_byte_is_one_in_its_page() {
        let mut found = contents("1/3").page(4);
        found[0] ^= 0xff;
        let mut tally = Tally::default();
        contents("1/3").check(4, &found, &mut tally);
        assert_eq!((tally.bytes_verified, tally.corrupt_bytes), (4096, 1));
        assert_eq!(tally.corrupt[0].page, 4);
    }
}
