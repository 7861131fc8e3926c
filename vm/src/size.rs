//! Sizes as people type them: `64M`, `1G`, `512K`, or plain bytes; and as they
//! read them.
//!
//! For the crate `bytesize` `64M` is 64 million bytes, which would not be what
//! QEMU, memory groups and everybody here mean by it.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A size in bytes. Units are powers of 1024; `64M`, `64MiB` and `64m` are
/// the same.
///
/// ```
/// use rapidswap_vm::Size;
/// let size: Size = "64M".parse()?;
/// assert_eq!(size.bytes(), 64 << 20);
/// # Ok::<(), rapidswap_vm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

/// Units from the largest down.
const UNITS: [(&str, u64); 4] = [
    ("T", 1 << 40),
    ("G", 1 << 30),
    ("M", 1 << 20),
    ("K", 1 << 10),
];

impl Size {
    /// A size of that many bytes.
    pub const fn from_bytes(bytes: u64) -> Size {
        Size(bytes)
    }

    /// A size of that many MiB.
    pub const fn from_mib(mib: u64) -> Size {
        Size(mib << 20)
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The size in whole MiB, rounded up.
    pub const fn mib(self) -> u64 {
        self.0.div_ceil(1 << 20)
    }
}

impl FromStr for Size {
    type Err = Error;

    fn from_str(text: &str) -> Result<Size, Error> {
        parse(text)
            .map(Size)
            .ok_or_else(|| Error::NotASize(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit = unit.to_ascii_uppercase();
    let unit = unit
        .strip_suffix("IB")
        .filter(|unit| !unit.is_empty())
        .unwrap_or(&unit);
    let factor = match unit {
        "" | "B" => 1,
        other => UNITS.iter().find(|(name, _)| *name == other)?.1,
    };
    number.checked_mul(factor).filter(|bytes| *bytes > 0)
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS
            .iter()
            .find(|(_, factor)| self.0 > 0 && self.0 % factor == 0);
        match unit {
            Some((name, factor)) => write!(f, "{}{name}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A number of bytes in the unit that people would use, rounded.
pub fn human_readable(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, factor)| bytes >= *factor);
    match unit {
        Some((name, factor)) => format!("{:.1} {name}iB", bytes as f64 / *factor as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_usual_spellings_mean_what_they_say() {
        for (text, bytes) in [
            ("4096", 4096),
            ("1B", 1),
            ("512k", 512 << 10),
            ("64M", 64 << 20),
            ("64MiB", 64 << 20),
            ("2G", 2 << 30),
        ] {
            assert_eq!(text.parse::<Size>().expect(text).bytes(), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in [
            "",
            "M",
            "0",
            "-1M",
            "64Q",
            "6 4M",
            "1.5G",
            "64MM",
            "64iB",
            "99999999999T",
        ] {
            let error = text.parse::<Size>().expect_err(text).to_string();
            assert!(error.contains("is not a size"), "{error}");
        }
    }

    #[test]
    fn units_change_with_size() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (64 << 20, "64.0 MiB"),
            (10 << 30, "10.0 GiB"),
        ] {
            assert_eq!(human_readable(bytes), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_back(bytes in 1u64..) {
            let size = Size::from_bytes(bytes);
            prop_assert_eq!(size.to_string().parse::<Size>().expect("own output"), size);
        }

        #[test]
        fn no_input_panics(text in ".{0,24}") {
            let _ = text.parse::<Size>();
        }
    }
}
