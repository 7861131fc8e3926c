//! A host's kernel log in the place of a console.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use rapidswap_protocol::{Agent, Error as AgentError, Exec};

use crate::error::{Error, IoContext, Result};

/// The kernel's log, a record a read.
const KMSG: &str = "/dev/kmsg";

/// Writes the kernel's log of a host to `console` as a console would show it,
/// from now on: what was said before is not this cluster's. Returns when that
/// has begun; ends with the agent.
pub(in super::super) fn follow(agent: Agent, console: &Path, token: &str) -> Result<()> {
    let problem = || format!("cannot write {}", console.display());
    let mut console = Console::new(File::create(console).what(problem)?, token);
    let begin = ["sh", "-c", r#"printf '<5>%s\n' "$0" > /dev/kmsg"#, token];
    let said = agent.exec(Exec::new(begin))?.output()?;
    if !said.status.success() {
        let text = String::from_utf8_lossy(&said.stderr);
        return Err(Error::Supervisor(format!(
            "cannot write to {KMSG}: {}",
            text.trim()
        )));
    }
    super::super::spawn("kmsg", move || {
        // Cut short when records are lost, or do not fit what may be under
        // way; it then begins again, and knows what it has seen.
        while !matches!(
            agent.pull(KMSG.as_ref(), &mut console),
            Err(AgentError::Gone)
        ) {
            console.line.clear();
            if agent.is_gone() {
                return;
            }
        }
    })
}

/// Turns records into lines.
struct Console<W> {
    out: W,
    /// The record that everything begins with, until it was seen.
    token: Option<String>,
    /// Number of the last record seen.
    last: Option<u64>,
    /// A line that has not ended.
    line: Vec<u8>,
}

impl<W: Write> Console<W> {
    fn new(out: W, token: &str) -> Console<W> {
        Console {
            out,
            token: Some(token.to_owned()),
            last: None,
            line: Vec::new(),
        }
    }

    fn line(&mut self) -> io::Result<()> {
        let line = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        let Some(record) = Record::parse(&line) else {
            return Ok(());
        };
        if self.last.is_some_and(|last| record.number <= last) {
            return Ok(());
        }
        let lost = self.last.map_or(0, |last| record.number - last - 1);
        self.last = Some(record.number);
        if self.token.is_some() {
            self.token.take_if(|token| record.text == *token);
            return Ok(());
        }
        let mut text = String::new();
        if lost > 0 {
            // As the console says it, which is looked for.
            text += &format!("** {lost} printk messages dropped **\n");
        }
        let (seconds, micros) = (record.micros / 1_000_000, record.micros % 1_000_000);
        for part in record.text.split('\n') {
            text += &format!("[{seconds:5}.{micros:06}] {part}\n");
        }
        self.out.write_all(text.as_bytes())
    }
}

impl<W: Write> Write for Console<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            match byte {
                b'\n' => self.line()?,
                byte => self.line.push(byte),
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A record: `level,number,microseconds,flags;text`. Lines that begin with a
/// blank, which say what it is about, are none.
struct Record {
    number: u64,
    micros: u64,
    text: String,
}

impl Record {
    fn parse(line: &str) -> Option<Record> {
        let (head, text) = line.split_once(';')?;
        let mut fields = head.split(',');
        fields.next()?.parse::<u32>().ok()?;
        Some(Record {
            number: fields.next()?.parse().ok()?,
            micros: fields.next()?.parse().ok()?,
            text: unescape(text),
        })
    }
}

/// Undoes `\x0a` and its like.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend(before.bytes());
        let code = after
            .get(..2)
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.extend(b"\\x");
                rest = after;
            }
        }
    }
    bytes.extend(rest.bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::splat::classify;
    use proptest::prelude::*;

    fn shown(records: &[&str]) -> String {
        let mut out = Vec::new();
        let mut console = Console::new(&mut out, "begin");
        for record in records {
            console.write_all(record.as_bytes()).expect("memory");
        }
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn records_are_shown_as_a_console_does() {
        let text = shown(&[
            "4,1,1000000,-;WARNING: an old one\n",
            "13,2,2000000,-;begin\n",
            "4,3,12345678,-;WARNING: CPU: 0 PID: 1 at x\n SUBSYSTEM=y\n",
            "6,4,12345679,c;two\\x0alines",
            "\n",
        ]);
        let expected = "[   12.345678] WARNING: CPU: 0 PID: 1 at x\n\
                        [   12.345679] two\n[   12.345679] lines\n";
        assert_eq!(text, expected);
        assert!(text.lines().next().and_then(classify).is_some());
    }

    #[test]
    fn what_is_seen_again_is_not_shown_again_and_what_is_lost_is_said() {
        let text = shown(&[
            "5,1,0,-;begin\n",
            "6,2,0,-;one\n",
            "6,1,0,-;begin\n",
            "6,2,0,-;one\n",
            "6,7,0,-;two\n",
        ]);
        let expected = "[    0.000000] one\n** 4 printk messages dropped **\n[    0.000000] two\n";
        assert_eq!(text, expected);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut console = Console::new(Vec::new(), "begin");
            console.write_all(&bytes).expect("memory");
        }
    }
}
