//! The two ends of a lane in the agent: what is read for the host, and what
//! the host has sent to be written.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use nix::libc;
use nix::poll::PollFlags;
use rapidswap_protocol::frame::{Kind, MAX_PAYLOAD};
use rapidswap_protocol::message::{self, Lane, WINDOW};

use crate::output::Output;
use crate::sys;

/// How much is still to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Everything up to the end of file.
    All,
    /// What is there already: the command has ended, and others who hold the
    /// other end of its terminal open do not count.
    Present,
    /// The same for a pipe, which can say how much that is.
    Bytes(usize),
}

/// Something read for the host, as far as there is credit.
pub(crate) struct Source {
    file: Option<File>,
    lane: Lane,
    credit: u32,
    rest: Rest,
    terminal: bool,
}

impl Source {
    /// The file must be in non-blocking mode.
    pub(crate) fn new(file: File, lane: Lane) -> Source {
        Source {
            file: Some(file),
            lane,
            credit: WINDOW,
            rest: Rest::All,
            terminal: false,
        }
    }

    /// The same for a terminal.
    pub(crate) fn terminal(file: File) -> Source {
        Source {
            terminal: true,
            ..Source::new(file, Lane::Stdout)
        }
    }

    /// One that is at its end.
    pub(crate) fn ended(lane: Lane) -> Source {
        Source {
            file: None,
            lane,
            credit: 0,
            rest: Rest::All,
            terminal: false,
        }
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.file.is_none()
    }

    /// Reads no more.
    pub(crate) fn close(&mut self) {
        self.file = None;
    }

    /// What to poll for, if anything.
    pub(crate) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let file = self.file.as_ref().filter(|_| self.credit > 0)?;
        Some((file.as_fd(), PollFlags::POLLIN))
    }

    /// Whether to read without regard to what poll says: the end of what is
    /// present is no event.
    pub(crate) fn is_due(&self) -> bool {
        self.rest != Rest::All && self.credit > 0 && self.file.is_some()
    }

    pub(crate) fn grant(&mut self, bytes: u32) {
        self.credit = self.credit.saturating_add(bytes);
    }

    /// Limits what is still read to what is there now.
    pub(crate) fn close_after_present(&mut self) {
        if let Some(file) = &self.file {
            let count = (!self.terminal).then(|| sys::readable_bytes(file.as_fd()));
            self.rest = count.flatten().map_or(Rest::Present, Rest::Bytes);
        }
    }

    /// Moves at most one frame to the host. Fails only if reading does.
    pub(crate) fn pump(&mut self, stream: u32, output: &Output) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let mut room = MAX_PAYLOAD.min(self.credit as usize);
        if let Rest::Bytes(left) = self.rest {
            room = room.min(left);
        }
        let mut buffer = [0; MAX_PAYLOAD];
        let read = if room == 0 {
            Ok(0)
        } else {
            file.read(&mut buffer[..room])
        };
        let count = match read {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if self.rest == Rest::All {
                    return Ok(());
                }
                0
            }
            // A terminal says so when nobody has its other end open.
            Err(error) if self.terminal && error.raw_os_error() == Some(libc::EIO) => 0,
            Err(error) => return Err(error),
        };
        if count == 0 {
            self.file = None;
            output.eof(stream, self.lane);
            return Ok(());
        }
        self.credit -= count as u32;
        if let Rest::Bytes(left) = &mut self.rest {
            *left -= count;
        }
        let kind = match self.lane {
            Lane::Stderr => Kind::Stderr,
            _ => Kind::Stdout,
        };
        output.send(kind, stream, &buffer[..count]);
        Ok(())
    }
}

/// Standard input of a command: written as fast as the command reads.
pub(crate) struct Sink {
    file: Option<File>,
    queue: VecDeque<u8>,
    ended: bool,
    owed: u32,
    terminal: bool,
}

impl Sink {
    /// The file must be in non-blocking mode.
    pub(crate) fn new(file: File, terminal: bool) -> Sink {
        Sink {
            file: Some(file),
            queue: VecDeque::new(),
            ended: false,
            owed: 0,
            terminal,
        }
    }

    /// One that takes nothing.
    pub(crate) fn ended() -> Sink {
        Sink {
            file: None,
            queue: VecDeque::new(),
            ended: true,
            owed: 0,
            terminal: false,
        }
    }

    /// What to poll for. A pipe that nobody reads any more shows without
    /// being asked.
    pub(crate) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let flags = if self.queue.is_empty() {
            PollFlags::empty()
        } else {
            PollFlags::POLLOUT
        };
        let file = self.file.as_ref();
        // A terminal whose other end is closed for the moment is not over.
        let file = file.filter(|_| !self.terminal || !self.queue.is_empty())?;
        Some((file.as_fd(), flags))
    }

    /// Takes bytes from the host.
    pub(crate) fn accept(&mut self, bytes: &[u8]) {
        // More than there was credit for is a fault of the host; to drop it
        // keeps the agent small.
        if self.file.is_some() && !self.ended && self.queue.len() + bytes.len() <= WINDOW as usize {
            self.queue.extend(bytes);
        }
    }

    /// The host has nothing more to send.
    pub(crate) fn end(&mut self) {
        if self.terminal && !self.ended {
            self.queue.push_back(4);
        }
        self.ended = true;
        self.close_if_done();
    }

    /// Forgets everything.
    pub(crate) fn close(&mut self) {
        *self = Sink::ended();
    }

    /// Writes what the command takes now. `gone`: nobody reads it any more.
    pub(crate) fn pump(&mut self, stream: u32, output: &Output, gone: bool) {
        let Some(file) = &mut self.file else {
            return;
        };
        let (head, _) = self.queue.as_slices();
        let written = if head.is_empty() {
            Ok(0)
        } else {
            file.write(head)
        };
        match written {
            Ok(count) => {
                self.queue.drain(..count);
                self.owed += count as u32;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return self.refuse(stream, output),
        }
        if gone && self.queue.is_empty() {
            return self.refuse(stream, output);
        }
        let idle = self.queue.is_empty() && self.owed > 0;
        if !self.ended && (idle || self.owed >= WINDOW / 2) {
            let credit = message::encode_credit(Lane::Stdin, std::mem::take(&mut self.owed));
            output.send(Kind::Credit, stream, &credit);
        }
        self.close_if_done();
    }

    fn refuse(&mut self, stream: u32, output: &Output) {
        self.close();
        output.eof(stream, Lane::Stdin);
    }

    fn close_if_done(&mut self) {
        // A terminal stays open: its output may go on.
        if self.ended && self.queue.is_empty() {
            self.file = None;
        }
    }
}
