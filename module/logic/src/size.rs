// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! Sizes as people write them: `4096`, `64M`, `1G`.

use core::fmt;
use core::str::FromStr;

/// A number of bytes, read from and shown as `64M` and the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Why text is not a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeError {
    /// Nothing there.
    Empty,
    /// Not digits followed by at most one unit.
    Syntax,
    /// More bytes than 64 bits count.
    TooLarge,
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SizeError::Empty => {
                "a size is missing: write bytes or a number with K, M, G or T, as 64M"
            }
            SizeError::Syntax => "not a size: write bytes or a number with K, M, G or T, as 64M",
            SizeError::TooLarge => "size is larger than any memory: 64 bits do not hold it",
        })
    }
}

impl core::error::Error for SizeError {}

const UNITS: [(u8, u32); 4] = [(b'T', 40), (b'G', 30), (b'M', 20), (b'K', 10)];

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Size, SizeError> {
        let bytes = text.as_bytes();
        let (&last, head) = bytes.split_last().ok_or(SizeError::Empty)?;
        let unit = UNITS
            .iter()
            .find(|(letter, _)| *letter == last.to_ascii_uppercase());
        let (digits, shift) = match unit {
            Some(&(_, shift)) => (head, shift),
            None => (bytes, 0),
        };
        if digits.is_empty() {
            return Err(SizeError::Syntax);
        }
        let mut value: u64 = 0;
        for &byte in digits {
            if !byte.is_ascii_digit() {
                return Err(SizeError::Syntax);
            }
            value = value
                .checked_mul(10)
                .and_then(|v| v.checked_add(u64::from(byte - b'0')))
                .ok_or(SizeError::TooLarge)?;
        }
        value
            .checked_mul(1 << shift)
            .map(Size)
            .ok_or(SizeError::TooLarge)
    }
}

impl fmt::Display for Size {
    /// The largest unit that divides it, so that nothing is rounded.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (letter, shift) in UNITS {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{}", self.0 >> shift, char::from(letter));
            }
        }
        write!(f, "{}", self.0)
    }
}
