//! The part of redis' protocol (RESP2) that storing and reading strings needs.

use std::io::{self, BufRead, Write};

use crate::crlf::{LONGEST, read_line};

/// A reply to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK` and the like.
    Status(String),
    /// `-ERR …`.
    Error(String),
    /// `:1`.
    Integer(i64),
    /// A string of bytes, or `None` where there is no such key.
    Bulk(Option<Vec<u8>>),
}

/// Writes one command.
pub fn write_command(sink: &mut impl Write, words: &[&[u8]]) -> io::Result<()> {
    write!(sink, "*{}\r\n", words.len())?;
    for word in words {
        write!(sink, "${}\r\n", word.len())?;
        sink.write_all(word)?;
        sink.write_all(b"\r\n")?;
    }
    Ok(())
}

/// Reads one reply.
pub fn read_reply(source: &mut impl BufRead) -> io::Result<Reply> {
    let line = read_line(source, malformed)?;
    let mut chars = line.chars();
    let kind = chars.next();
    let rest = chars.as_str();
    match kind {
        Some('+') => Ok(Reply::Status(rest.to_owned())),
        Some('-') => Ok(Reply::Error(rest.to_owned())),
        Some(':') => rest
            .parse()
            .map(Reply::Integer)
            .map_err(|_| malformed(&line)),
        Some('$') if rest == "-1" => Ok(Reply::Bulk(None)),
        Some('$') => {
            let length: usize = rest.parse().map_err(|_| malformed(&line))?;
            if length > LONGEST {
                return Err(malformed(&line));
            }
            let mut bytes = vec![0; length];
            source.read_exact(&mut bytes)?;
            let mut end = [0; 2];
            source.read_exact(&mut end)?;
            if &end != b"\r\n" {
                return Err(malformed("a string without its end"));
            }
            Ok(Reply::Bulk(Some(bytes)))
        }
        _ => Err(malformed(&line)),
    }
}

fn malformed(line: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("not a reply of redis: {line:?}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_command_is_an_array_of_strings() {
        let mut bytes = Vec::new();
        write_command(&mut bytes, &[b"SET", b"k", b"a\r\nb"]).expect("written");
        assert_eq!(bytes, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n");
    }

    #[test]
    fn each_kind_of_reply_is_read() {
        let mut source: &[u8] = b"+OK\r\n-ERR no\r\n:-3\r\n$-1\r\n$2\r\n\r\n\r\n";
        let mut next = || read_reply(&mut source).expect("reply");
        assert_eq!(next(), Reply::Status("OK".into()));
        assert_eq!(next(), Reply::Error("ERR no".into()));
        assert_eq!(next(), Reply::Integer(-3));
        assert_eq!(next(), Reply::Bulk(None));
        assert_eq!(next(), Reply::Bulk(Some(b"\r\n".to_vec())));
    }

    proptest! {
        #[test]
        fn any_string_survives(value: Vec<u8>) {
            let mut bytes = format!("${}\r\n", value.len()).into_bytes();
            bytes.extend_from_slice(&value);
            bytes.extend_from_slice(b"\r\n");
            let reply = read_reply(&mut bytes.as_slice()).expect("reply");
            prop_assert_eq!(reply, Reply::Bulk(Some(value)));
        }

        #[test]
        fn nonsense_is_an_error_or_a_reply_but_no_panic(bytes: Vec<u8>) {
            let _ = read_reply(&mut bytes.as_slice());
        }
    }
}
