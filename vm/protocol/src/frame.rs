//! Frames: how messages are delimited in a stream of bytes that may begin in
//! the middle of anything.
//!
//! A frame is a header of [`HEADER`] bytes and a payload. All numbers are
//! little endian.
//!
//! | offset | field |
//! |---|---|
//! | 0 | magic |
//! | 4 | kind |
//! | 5 | flags: bit 0, the message goes on in the next frame of this stream |
//! | 6 | length of the payload |
//! | 8 | stream |
//! | 12 | nonce of the session |
//! | 20 | CRC-32 of the payload |
//! | 24 | CRC-32 of the 24 bytes before |
//!
//! A session begins with [`PREAMBLE`], which completes whatever frame a former
//! peer left half written; the payload's checksum then exposes that one, and
//! the decoder looks for the next frame within the bytes it had swallowed.

use std::io::{self, Write};

use crate::crc::crc32;

/// The longest frame. Small, because the guest kernel allocates a buffer of
/// the size of each write to a virtio-serial port, and must be able to while
/// it is short of memory.
pub const MAX_FRAME: usize = 8192;
/// Length of a frame's header.
pub const HEADER: usize = 28;
/// The longest payload.
pub const MAX_PAYLOAD: usize = MAX_FRAME - HEADER;
/// What each side writes before its first frame of a session.
pub const PREAMBLE: [u8; MAX_FRAME] = [0; MAX_FRAME];

// The first byte occurs in no UTF-8 text, so text is skipped fast.
const MAGIC: [u8; 4] = [0xf5, b'R', b'S', b'1'];
const MORE: u8 = 1;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Host: begin a session with this nonce, forget any other. Agent: begun
    /// ([`crate::message::Hello`]).
    Hello = 1,
    /// Host: run a command ([`crate::Exec`], in as many frames as it takes).
    Exec = 2,
    /// Agent: the command, push or pull has begun (process id or 0, `u32`).
    Started = 3,
    /// Host: bytes for standard input, or of a pushed file.
    Stdin = 4,
    /// Agent: bytes of standard output, or of a pulled file.
    Stdout = 5,
    /// Agent: bytes of standard error.
    Stderr = 6,
    /// Either: no more bytes in this lane ([`crate::message::Lane`]). The
    /// agent sends it for standard input when nobody reads that any more.
    Eof = 7,
    /// Agent: the command ended ([`crate::ExitStatus`]), or the push is done.
    Exit = 8,
    /// Host: signal the command's process group (`i32`).
    Signal = 9,
    /// Host: the terminal's size has changed ([`crate::WindowSize`]).
    Winsize = 10,
    /// Either: the receiver of a lane takes that many bytes more.
    Credit = 11,
    /// Host: make a file (mode, `u32`, and path); its bytes follow.
    Push = 12,
    /// Host: send a file (path).
    Pull = 13,
    /// Agent: failed; nothing more follows in this stream.
    Error = 14,
    /// Host: kill the command if it still runs and forget the stream.
    Close = 15,
    /// Host: power the machine off. Agent: about to.
    Shutdown = 16,
    /// Host: the machine's own life begins now ([`crate::message::Settle`]).
    Settle = 17,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        use Kind::*;
        [
            Hello, Exec, Started, Stdin, Stdout, Stderr, Eof, Exit, Signal, Winsize, Credit, Push,
            Pull, Error, Close, Shutdown, Settle,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it says.
    pub kind: Kind,
    /// Whether the message goes on in the next frame of this kind and stream.
    pub more: bool,
    /// The session it belongs to.
    pub nonce: u64,
    /// The stream it belongs to, 0 for the session itself.
    pub stream: u32,
    /// At most [`MAX_PAYLOAD`] bytes.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// Appends the frame's bytes to `out`.
    ///
    /// # Panics
    ///
    /// If the payload is longer than [`MAX_PAYLOAD`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.payload.len() <= MAX_PAYLOAD);
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.push(self.kind as u8);
        out.push(if self.more { MORE } else { 0 });
        out.extend_from_slice(&(self.payload.len() as u16).to_le_bytes());
        out.extend_from_slice(&self.stream.to_le_bytes());
        out.extend_from_slice(&self.nonce.to_le_bytes());
        out.extend_from_slice(&crc32(self.payload).to_le_bytes());
        let check = crc32(&out[start..]);
        out.extend_from_slice(&check.to_le_bytes());
        out.extend_from_slice(self.payload);
    }
}

/// The one writer of a stream: every frame goes out whole, in one `write`
/// where the stream allows.
#[derive(Debug)]
pub struct FrameWriter<W> {
    inner: W,
    buffer: Vec<u8>,
}

impl<W: Write> FrameWriter<W> {
    /// Wraps a stream.
    pub fn new(inner: W) -> FrameWriter<W> {
        FrameWriter {
            inner,
            buffer: Vec::with_capacity(MAX_FRAME),
        }
    }

    /// Writes [`PREAMBLE`].
    pub fn preamble(&mut self) -> io::Result<()> {
        self.inner.write_all(&PREAMBLE)?;
        self.inner.flush()
    }

    /// Writes one frame.
    pub fn send(&mut self, frame: Frame<'_>) -> io::Result<()> {
        self.buffer.clear();
        frame.encode(&mut self.buffer);
        self.inner.write_all(&self.buffer)?;
        self.inner.flush()
    }
}

/// Finds the frames in a stream of bytes. Whatever is not one is skipped.
#[derive(Debug)]
pub struct Decoder {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder::new()
    }
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    pub fn new() -> Decoder {
        Decoder {
            buffer: vec![0; 2 * MAX_FRAME].into(),
            start: 0,
            end: 0,
        }
    }

    /// Room for the next bytes of the stream, never empty once
    /// [`Decoder::next_frame`] has returned `None`.
    pub fn space(&mut self) -> &mut [u8] {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        &mut self.buffer[self.end..]
    }

    /// Tells that the first `count` bytes of [`Decoder::space`] were filled.
    pub fn filled(&mut self, count: usize) {
        assert!(count <= self.buffer.len() - self.end);
        self.end += count;
    }

    /// The next frame, or `None` if more bytes are needed.
    pub fn next_frame(&mut self) -> Option<Frame<'_>> {
        loop {
            let pending = &self.buffer[self.start..self.end];
            let Some(skipped) = pending.iter().position(|&byte| byte == MAGIC[0]) else {
                self.start = self.end;
                return None;
            };
            self.start += skipped;
            match judge(&self.buffer[self.start..self.end]) {
                Verdict::Short => return None,
                Verdict::Garbage => self.start += 1,
                Verdict::Unknown(length) => self.start += length,
                Verdict::Frame(kind, length) => {
                    let bytes = &self.buffer[self.start..self.start + length];
                    self.start += length;
                    return Some(Frame {
                        kind,
                        more: bytes[5] & MORE != 0,
                        nonce: u64::from_le_bytes(field(bytes, 12)),
                        stream: u32::from_le_bytes(field(bytes, 8)),
                        payload: &bytes[HEADER..],
                    });
                }
            }
        }
    }
}

enum Verdict {
    Short,
    Garbage,
    /// A whole frame of a kind this version does not know.
    Unknown(usize),
    Frame(Kind, usize),
}

fn judge(bytes: &[u8]) -> Verdict {
    let magic = &bytes[..bytes.len().min(MAGIC.len())];
    if !MAGIC.starts_with(magic) {
        return Verdict::Garbage;
    }
    if bytes.len() < HEADER {
        return Verdict::Short;
    }
    if u32::from_le_bytes(field(bytes, 24)) != crc32(&bytes[..24]) {
        return Verdict::Garbage;
    }
    let length = HEADER + usize::from(u16::from_le_bytes(field(bytes, 6)));
    if length > MAX_FRAME {
        return Verdict::Garbage;
    }
    if bytes.len() < length {
        return Verdict::Short;
    }
    if u32::from_le_bytes(field(bytes, 20)) != crc32(&bytes[HEADER..length]) {
        return Verdict::Garbage;
    }
    match Kind::from_byte(bytes[4]) {
        Some(kind) => Verdict::Frame(kind, length),
        None => Verdict::Unknown(length),
    }
}

fn field<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[offset..offset + N]);
    field
}
