//! The part of memcached's text protocol that storing and reading one value
//! at a time needs (`doc/protocol.txt` of its source).

use std::io::{self, BufRead, Write};

use crate::crlf::{LONGEST, read_line};

/// Writes a `set` that never expires.
pub fn write_set(sink: &mut impl Write, key: &str, value: &[u8]) -> io::Result<()> {
    write!(sink, "set {key} 0 0 {}\r\n", value.len())?;
    sink.write_all(value)?;
    sink.write_all(b"\r\n")
}

/// Writes a `get`.
pub fn write_get(sink: &mut impl Write, key: &str) -> io::Result<()> {
    write!(sink, "get {key}\r\n")
}

/// Reads the reply to a `set`, which is an error unless the value is stored.
pub fn read_stored(source: &mut impl BufRead) -> io::Result<()> {
    match read_line(source, malformed)? {
        line if line == "STORED" => Ok(()),
        line => Err(malformed(&line)),
    }
}

/// Reads the reply to a `get`: `None` where there is no such key.
pub fn read_value(source: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let line = read_line(source, malformed)?;
    if line == "END" {
        return Ok(None);
    }
    let length = match line.split(' ').collect::<Vec<_>>()[..] {
        ["VALUE", _, _, length] => length.parse::<usize>().ok(),
        _ => None,
    };
    let length = length.filter(|length| *length <= LONGEST);
    let mut value = vec![0; length.ok_or_else(|| malformed(&line))?];
    source.read_exact(&mut value)?;
    for expected in ["", "END"] {
        let line = read_line(source, malformed)?;
        if line != expected {
            return Err(malformed(&line));
        }
    }
    Ok(Some(value))
}

fn malformed(line: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("not the reply of memcached that was expected: {line:?}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn commands_are_as_in_the_protocol() {
        let mut bytes = Vec::new();
        write_set(&mut bytes, "k", b"a\r\nb").expect("written");
        write_get(&mut bytes, "k").expect("written");
        assert_eq!(bytes, b"set k 0 0 4\r\na\r\nb\r\nget k\r\n");
    }

    #[test]
    fn what_is_not_stored_is_an_error() {
        assert!(read_stored(&mut &b"STORED\r\n"[..]).is_ok());
        let full = b"SERVER_ERROR out of memory storing object\r\n";
        let error = read_stored(&mut &full[..]).expect_err("not stored");
        assert!(error.to_string().contains("out of memory"), "{error}");
        assert!(read_stored(&mut &b""[..]).is_err());
    }

    #[test]
    fn a_missing_key_is_no_error() {
        assert_eq!(read_value(&mut &b"END\r\n"[..]).expect("reply"), None);
    }

    proptest! {
        #[test]
        fn any_value_survives(value: Vec<u8>) {
            let mut bytes = format!("VALUE k 0 {}\r\n", value.len()).into_bytes();
            bytes.extend_from_slice(&value);
            bytes.extend_from_slice(b"\r\nEND\r\n");
            let mut source = bytes.as_slice();
            prop_assert_eq!(read_value(&mut source).expect("reply"), Some(value));
            prop_assert!(source.is_empty());
        }

        #[test]
        fn nonsense_is_an_error_or_a_reply_but_no_panic(bytes: Vec<u8>) {
            let _ = read_value(&mut bytes.as_slice());
            let _ = read_stored(&mut bytes.as_slice());
        }
    }
}
