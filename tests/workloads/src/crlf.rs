//! What protocols of text lines have in common.

use std::io::{self, BufRead};

/// Longest value accepted, so that a damaged length does not ask for all
/// memory.
pub const LONGEST: usize = 64 << 20;

/// Reads a line without its CR and LF. One that has none, or no CR, is the
/// error that `malformed` makes of it.
pub fn read_line(
    source: &mut impl BufRead,
    malformed: fn(&str) -> io::Error,
) -> io::Result<String> {
    let mut line = Vec::new();
    source.read_until(b'\n', &mut line)?;
    match line.strip_suffix(b"\r\n") {
        Some(text) => Ok(String::from_utf8_lossy(text).into_owned()),
        None if line.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
        None => Err(malformed(&String::from_utf8_lossy(&line))),
    }
}
