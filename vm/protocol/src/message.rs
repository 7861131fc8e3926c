//! What the payloads of frames hold, and their bytes. Decoding is total: bytes
//! that are no message give `None`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Exec, ExitStatus, WindowSize};

/// The version of the protocol. Both sides are built from one checkout, so
/// there is no negotiation.
pub const VERSION: u16 = 2;
/// How many bytes of a lane may be under way without further credit.
pub const WINDOW: u32 = 64 * 1024;
/// The longest encoded [`Exec`] that an agent takes.
pub const MAX_EXEC: usize = 1024 * 1024;

/// The three directions in which a stream carries bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Lane {
    /// Host to agent: standard input, a pushed file.
    Stdin = 0,
    /// Agent to host: standard output, a pulled file.
    Stdout = 1,
    /// Agent to host: standard error.
    Stderr = 2,
}

impl Lane {
    fn from_byte(byte: u8) -> Option<Lane> {
        [Lane::Stdin, Lane::Stdout, Lane::Stderr]
            .into_iter()
            .find(|lane| *lane as u8 == byte)
    }
}

/// What an agent says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Its [`VERSION`].
    pub version: u16,
    /// Its process id, 1 in a VM.
    pub pid: u32,
    /// What went wrong at boot without being fatal, one matter a line.
    pub notes: String,
}

impl Hello {
    /// As bytes; notes that do not fit one frame are cut.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.version.to_le_bytes().to_vec();
        out.extend_from_slice(&self.pid.to_le_bytes());
        out.extend_from_slice(cut(&self.notes).as_bytes());
        out
    }

    /// From bytes. The version is read even if another one wrote the rest.
    pub fn decode(payload: &[u8]) -> Option<Hello> {
        let mut rest = payload;
        let version = u16::from_le_bytes(array(&mut rest)?);
        let pid = array(&mut rest).map_or(0, u32::from_le_bytes);
        Some(Hello {
            version,
            pid,
            notes: String::from_utf8_lossy(rest).into_owned(),
        })
    }
}

/// What only this machine is to have, be it booted or restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settle {
    /// The time of day, since 1970.
    pub time: Duration,
    /// Random bytes that no other machine gets.
    pub seed: Vec<u8>,
}

impl Settle {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.time.as_secs().to_le_bytes().to_vec();
        out.extend_from_slice(&self.time.subsec_nanos().to_le_bytes());
        out.extend_from_slice(&self.seed);
        out
    }

    /// From bytes.
    pub fn decode(mut payload: &[u8]) -> Option<Settle> {
        let seconds = u64::from_le_bytes(array(&mut payload)?);
        let nanoseconds = u32::from_le_bytes(array(&mut payload)?);
        Some(Settle {
            time: (nanoseconds < 1_000_000_000).then(|| Duration::new(seconds, nanoseconds))?,
            seed: payload.to_vec(),
        })
    }
}

/// A failure in the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The failed call's `errno`, 0 where there was none.
    pub errno: i32,
    /// What failed, and why.
    pub message: String,
}

impl Failure {
    /// As bytes; a message that does not fit one frame is cut.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.errno.to_le_bytes().to_vec();
        out.extend_from_slice(cut(&self.message).as_bytes());
        out
    }

    /// From bytes.
    pub fn decode(mut payload: &[u8]) -> Option<Failure> {
        let errno = i32::from_le_bytes(array(&mut payload)?);
        Some(Failure {
            errno,
            message: String::from_utf8_lossy(payload).into_owned(),
        })
    }
}

/// An exit status as the payload of [`crate::frame::Kind::Exit`].
pub fn encode_exit(status: ExitStatus) -> [u8; 5] {
    let (tag, number) = match status {
        ExitStatus::Code(code) => (0, code),
        ExitStatus::Signal(signal) => (1, signal),
    };
    let [a, b, c, d] = number.to_le_bytes();
    [tag, a, b, c, d]
}

/// The reverse of [`encode_exit`].
pub fn decode_exit(mut payload: &[u8]) -> Option<ExitStatus> {
    let [tag] = array(&mut payload)?;
    let number = i32::from_le_bytes(exact(payload)?);
    match tag {
        0 => Some(ExitStatus::Code(number)),
        1 => Some(ExitStatus::Signal(number)),
        _ => None,
    }
}

/// A terminal's size as the payload of [`crate::frame::Kind::Winsize`].
pub fn encode_size(size: WindowSize) -> [u8; 4] {
    let [a, b] = size.rows.to_le_bytes();
    let [c, d] = size.cols.to_le_bytes();
    [a, b, c, d]
}

/// The reverse of [`encode_size`].
pub fn decode_size(payload: &[u8]) -> Option<WindowSize> {
    let [a, b, c, d] = exact(payload)?;
    Some(WindowSize {
        rows: u16::from_le_bytes([a, b]),
        cols: u16::from_le_bytes([c, d]),
    })
}

/// Credit for a lane as the payload of [`crate::frame::Kind::Credit`].
pub fn encode_credit(lane: Lane, bytes: u32) -> [u8; 5] {
    let [a, b, c, d] = bytes.to_le_bytes();
    [lane as u8, a, b, c, d]
}

/// The reverse of [`encode_credit`].
pub fn decode_credit(mut payload: &[u8]) -> Option<(Lane, u32)> {
    let [lane] = array(&mut payload)?;
    Some((Lane::from_byte(lane)?, u32::from_le_bytes(exact(payload)?)))
}

/// A lane as the payload of [`crate::frame::Kind::Eof`].
pub fn encode_lane(lane: Lane) -> [u8; 1] {
    [lane as u8]
}

/// The reverse of [`encode_lane`].
pub fn decode_lane(payload: &[u8]) -> Option<Lane> {
    let [lane] = exact(payload)?;
    Lane::from_byte(lane)
}

/// A signal or process id as a payload.
pub fn encode_number(number: i32) -> [u8; 4] {
    number.to_le_bytes()
}

/// The reverse of [`encode_number`].
pub fn decode_number(payload: &[u8]) -> Option<i32> {
    exact(payload).map(i32::from_le_bytes)
}

/// Mode and path as the payload of [`crate::frame::Kind::Push`].
pub fn encode_push(mode: u32, path: &Path) -> Vec<u8> {
    let mut out = mode.to_le_bytes().to_vec();
    out.extend_from_slice(path.as_os_str().as_bytes());
    out
}

/// The reverse of [`encode_push`].
pub fn decode_push(mut payload: &[u8]) -> Option<(u32, PathBuf)> {
    let mode = u32::from_le_bytes(array(&mut payload)?);
    Some((mode, decode_path(payload)))
}

/// The path in the payload of [`crate::frame::Kind::Pull`].
pub fn decode_path(payload: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(payload))
}

const DETACH: u8 = 1;
const TTY: u8 = 2;
const CWD: u8 = 4;
const LOG: u8 = 8;

/// A command as bytes, to be sent in as many frames as it takes.
pub fn encode_exec(exec: &Exec) -> Vec<u8> {
    let flag = |set: bool, bit| if set { bit } else { 0 };
    let mut out = vec![
        flag(exec.detach, DETACH)
            | flag(exec.tty.is_some(), TTY)
            | flag(exec.cwd.is_some(), CWD)
            | flag(exec.log.is_some(), LOG),
    ];
    let put = |out: &mut Vec<u8>, text: &OsStr| {
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    };
    if let Some(size) = exec.tty {
        out.extend_from_slice(&encode_size(size));
    }
    if let Some(cwd) = &exec.cwd {
        put(&mut out, cwd.as_os_str());
    }
    if let Some(log) = &exec.log {
        put(&mut out, log);
    }
    out.extend_from_slice(&(exec.argv.len() as u32).to_le_bytes());
    for arg in &exec.argv {
        put(&mut out, arg);
    }
    for (name, value) in &exec.env {
        put(&mut out, name);
        put(&mut out, value);
    }
    out
}

/// The reverse of [`encode_exec`].
pub fn decode_exec(payload: &[u8]) -> Option<Exec> {
    let mut rest = payload;
    let [flags] = array(&mut rest)?;
    let mut exec = Exec {
        detach: flags & DETACH != 0,
        ..Exec::default()
    };
    if flags & TTY != 0 {
        exec.tty = decode_size(&array::<4>(&mut rest)?);
    }
    if flags & CWD != 0 {
        exec.cwd = Some(text(&mut rest)?.into());
    }
    if flags & LOG != 0 {
        exec.log = Some(text(&mut rest)?);
    }
    let args = u32::from_le_bytes(array(&mut rest)?);
    for _ in 0..args {
        exec.argv.push(text(&mut rest)?);
    }
    while !rest.is_empty() {
        exec.env.push((text(&mut rest)?, text(&mut rest)?));
    }
    Some(exec)
}

fn text(rest: &mut &[u8]) -> Option<OsString> {
    let length = u32::from_le_bytes(array(rest)?);
    let (text, tail) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = tail;
    Some(OsString::from_vec(text.to_vec()))
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

fn exact<const N: usize>(payload: &[u8]) -> Option<[u8; N]> {
    payload.try_into().ok()
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(4096);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
