//! What the reader thread and the users of one connection share.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::Error;
use crate::exec::ExitStatus;
use crate::frame::{Decoder, Frame, FrameWriter, Kind};
use crate::message::{self, Failure, Hello, Lane, WINDOW};
use crate::watched::Watched;

/// Bytes which have arrived and nobody has read yet.
#[derive(Default)]
pub(crate) struct Inlet {
    pub(crate) bytes: VecDeque<u8>,
    pub(crate) ended: bool,
    /// Read since credit was last given.
    pub(crate) owed: u32,
}

/// One command, push or pull.
pub(crate) struct Channel {
    pub(crate) started: Option<i32>,
    pub(crate) exit: Option<ExitStatus>,
    pub(crate) failure: Option<Failure>,
    pub(crate) gone: bool,
    pub(crate) stdout: Inlet,
    pub(crate) stderr: Inlet,
    /// How much the agent will still take for standard input.
    pub(crate) credit: u32,
    /// Nobody reads standard input any more.
    pub(crate) stdin_ended: bool,
}

impl Channel {
    pub(crate) fn new() -> Channel {
        Channel {
            started: None,
            exit: None,
            failure: None,
            gone: false,
            stdout: Inlet::default(),
            stderr: Inlet::default(),
            credit: WINDOW,
            stdin_ended: false,
        }
    }

    pub(crate) fn inlet(&mut self, lane: Lane) -> &mut Inlet {
        match lane {
            Lane::Stderr => &mut self.stderr,
            _ => &mut self.stdout,
        }
    }

    /// Whether the agent has nothing left to say.
    pub(crate) fn finished(&self) -> bool {
        let quiet = self.stdout.ended && self.stderr.ended;
        self.gone || self.failure.is_some() || (self.exit.is_some() && quiet)
    }

    /// The reason why nothing more is to come, if there is one.
    pub(crate) fn broken(&self) -> Option<Error> {
        if let Some(Failure { errno, message }) = self.failure.clone() {
            return Some(Error::Remote { errno, message });
        }
        self.gone.then_some(Error::Gone)
    }

    pub(crate) fn end(&mut self) {
        self.stdout.ended = true;
        self.stderr.ended = true;
        self.stdin_ended = true;
    }

    fn take(&mut self, frame: Frame<'_>) {
        match frame.kind {
            Kind::Started => self.started = message::decode_number(frame.payload),
            Kind::Stdout => self.stdout.bytes.extend(frame.payload),
            Kind::Stderr => self.stderr.bytes.extend(frame.payload),
            Kind::Eof => match message::decode_lane(frame.payload) {
                Some(Lane::Stdin) => self.stdin_ended = true,
                Some(lane) => self.inlet(lane).ended = true,
                None => {}
            },
            Kind::Exit => {
                self.exit = message::decode_exit(frame.payload);
                self.stdin_ended = true;
            }
            Kind::Credit => {
                if let Some((Lane::Stdin, bytes)) = message::decode_credit(frame.payload) {
                    self.credit = self.credit.saturating_add(bytes);
                }
            }
            Kind::Error => {
                self.failure = Failure::decode(frame.payload);
                self.end();
            }
            _ => {}
        }
    }
}

/// All streams of one connection.
#[derive(Default)]
pub(crate) struct Table {
    streams: HashMap<u32, Arc<Watched<Channel>>>,
    last: u32,
    pub(crate) hello: Option<Hello>,
    pub(crate) shutting_down: bool,
    pub(crate) gone: bool,
}

impl Table {
    pub(crate) fn open(&mut self) -> Result<(u32, Arc<Watched<Channel>>), Error> {
        if self.gone {
            return Err(Error::Gone);
        }
        self.last += 1;
        let channel = Arc::new(Watched::new(Channel::new()));
        self.streams.insert(self.last, Arc::clone(&channel));
        Ok((self.last, channel))
    }

    pub(crate) fn forget(&mut self, stream: u32) {
        self.streams.remove(&stream);
    }

    fn lose(&mut self) {
        self.gone = true;
        for (_, channel) in self.streams.drain() {
            channel.update(|channel| {
                channel.gone = true;
                channel.end();
            });
        }
    }
}

/// The writing half of a connection and its streams.
pub(crate) struct Link {
    writer: Mutex<FrameWriter<Box<dyn Write + Send>>>,
    nonce: u64,
    pub(crate) table: Arc<Watched<Table>>,
}

impl Link {
    /// Takes over both halves of a stream and starts to read.
    pub(crate) fn open(
        reader: Box<dyn Read + Send>,
        writer: Box<dyn Write + Send>,
        nonce: u64,
    ) -> std::io::Result<Link> {
        let table = Arc::new(Watched::new(Table::default()));
        let shared = Arc::clone(&table);
        std::thread::Builder::new()
            .name("agent-reader".into())
            .spawn(move || {
                receive(reader, nonce, &shared);
                shared.update(Table::lose);
            })?;
        Ok(Link {
            writer: Mutex::new(FrameWriter::new(writer)),
            nonce,
            table,
        })
    }

    pub(crate) fn greet(&self) -> Result<(), Error> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let written = writer.preamble();
        drop(writer);
        written.map_err(|_| self.lose())?;
        self.send(Kind::Hello, 0, &message::VERSION.to_le_bytes())
    }

    pub(crate) fn send(&self, kind: Kind, stream: u32, payload: &[u8]) -> Result<(), Error> {
        self.send_part(kind, stream, payload, false)
    }

    pub(crate) fn send_part(
        &self,
        kind: Kind,
        stream: u32,
        payload: &[u8],
        more: bool,
    ) -> Result<(), Error> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = writer.send(Frame {
            kind,
            more,
            nonce: self.nonce,
            stream,
            payload,
        });
        drop(writer);
        sent.map_err(|_| self.lose())
    }

    fn lose(&self) -> Error {
        self.table.update(Table::lose);
        Error::Gone
    }
}

/// The reader thread. It never writes: that could wait for an agent which
/// itself waits for this thread.
fn receive(mut reader: Box<dyn Read + Send>, nonce: u64, table: &Watched<Table>) {
    let mut decoder = Decoder::new();
    loop {
        match reader.read(decoder.space()) {
            Ok(0) => return,
            Ok(count) => decoder.filled(count),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
        while let Some(frame) = decoder.next_frame() {
            if frame.nonce != nonce {
                continue;
            }
            if frame.stream == 0 {
                table.update(|table| match frame.kind {
                    Kind::Hello => table.hello = Hello::decode(frame.payload),
                    Kind::Shutdown => table.shutting_down = true,
                    _ => {}
                });
                continue;
            }
            let channel = table.lock().streams.get(&frame.stream).cloned();
            if let Some(channel) = channel {
                channel.update(|channel| channel.take(frame));
            }
        }
    }
}

/// The user's hold on a stream. When the last one goes, so does the stream.
pub(crate) struct Control {
    pub(crate) link: Arc<Link>,
    pub(crate) stream: u32,
    pub(crate) channel: Arc<Watched<Channel>>,
}

impl Control {
    pub(crate) fn open(link: &Arc<Link>) -> Result<Control, Error> {
        let (stream, channel) = link.table.lock().open()?;
        Ok(Control {
            link: Arc::clone(link),
            stream,
            channel,
        })
    }

    pub(crate) fn send(&self, kind: Kind, payload: &[u8]) -> Result<(), Error> {
        self.link.send(kind, self.stream, payload)
    }

    /// Waits for the agent to say that it has begun.
    pub(crate) fn started(&self) -> Result<i32, Error> {
        self.until(None, |channel| channel.started)
            .unwrap_or(Err(Error::Gone))
    }

    /// Waits for what `look` looks for; `None` if the deadline passes first.
    pub(crate) fn until<R>(
        &self,
        deadline: Option<Instant>,
        look: impl Fn(&Channel) -> Option<R>,
    ) -> Option<Result<R, Error>> {
        self.channel.wait(deadline, |channel| {
            let found = look(channel).map(Ok);
            found.or_else(|| channel.broken().map(Err))
        })
    }

    /// Ends the stream on both sides, with what runs in it.
    pub(crate) fn close(&self) {
        let finished = self.channel.update(|channel| {
            let finished = channel.finished();
            channel.end();
            channel.gone = true;
            finished
        });
        if !finished {
            // If the connection is gone, so is the stream.
            let _ = self.send(Kind::Close, &[]);
        }
        self.link.table.lock().forget(self.stream);
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.close();
    }
}
