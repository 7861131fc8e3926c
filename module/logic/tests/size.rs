//! Sizes are read as people mean them and shown without rounding.

use proptest::prelude::*;
use remoteswap_logic::size::{Size, SizeError};

proptest! {
    #[test]
    fn what_is_shown_reads_back(bytes: u64) {
        prop_assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
    }

    #[test]
    fn no_text_upsets_it(text in ".{0,24}") {
        let _ = text.parse::<Size>();
    }
}

#[test]
fn units() {
    for (text, bytes) in [
        ("0", 0),
        ("4096", 4096),
        ("4k", 4096),
        ("64M", 64 << 20),
        ("1G", 1 << 30),
        ("16777215T", 16777215 << 40),
    ] {
        assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
    }
    assert_eq!(Size(64 << 20).to_string(), "64M");
    assert_eq!(Size((64 << 20) + 4096).to_string(), "65540K");
    assert_eq!(Size(0).to_string(), "0");
}

#[test]
fn what_is_no_size_is_refused() {
    for text in ["M", "1.5G", "-1", "+1", "64 M", "64MB", "x", "1e9", "٣"] {
        assert_eq!(text.parse::<Size>(), Err(SizeError::Syntax), "{text}");
    }
    assert_eq!("".parse::<Size>(), Err(SizeError::Empty));
    for text in ["18446744073709551616", "16777216T"] {
        assert_eq!(text.parse::<Size>(), Err(SizeError::TooLarge), "{text}");
    }
}
