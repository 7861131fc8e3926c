//! The agent's side of the stream to the host: its one writer.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rapidswap_protocol::frame::{Frame, FrameWriter, Kind};
use rapidswap_protocol::message::{self, Failure, Hello, Lane};

/// Where frames for the host go. Clones share the writer.
///
/// On a virtio-serial port a write waits while no host is connected, and
/// nothing here ever polls the port: a poll reclaims buffers that a waiting
/// write counts on being woken for.
#[derive(Clone)]
pub(crate) struct Output {
    shared: Arc<Shared>,
}

struct Shared {
    writer: Mutex<FrameWriter<File>>,
    nonce: AtomicU64,
    broken: AtomicBool,
}

impl Output {
    pub(crate) fn new(port: File) -> Output {
        Output {
            shared: Arc::new(Shared {
                writer: Mutex::new(FrameWriter::new(port)),
                nonce: AtomicU64::new(0),
                broken: AtomicBool::new(false),
            }),
        }
    }

    /// The session that frames belong to, 0 before the first.
    pub(crate) fn nonce(&self) -> u64 {
        self.shared.nonce.load(Ordering::Relaxed)
    }

    /// Whether a write has failed. What is sent after that is lost, and the
    /// one loop that serves the host looks here, so no sender has to.
    pub(crate) fn is_broken(&self) -> bool {
        self.shared.broken.load(Ordering::Relaxed)
    }

    /// Begins a session.
    pub(crate) fn greet(&self, nonce: u64, hello: &Hello) {
        self.shared.nonce.store(nonce, Ordering::Relaxed);
        let written = self.writer().preamble();
        self.note(written);
        self.send(Kind::Hello, 0, &hello.encode());
    }

    /// Writes a frame that belongs to no session, which every host skips.
    pub(crate) fn beacon(&self) {
        self.write(Kind::Hello, 0, 0, &[]);
    }

    pub(crate) fn send(&self, kind: Kind, stream: u32, payload: &[u8]) {
        self.write(kind, self.nonce(), stream, payload);
    }

    pub(crate) fn eof(&self, stream: u32, lane: Lane) {
        self.send(Kind::Eof, stream, &message::encode_lane(lane));
    }

    pub(crate) fn fail(&self, stream: u32, failure: &Failure) {
        self.send(Kind::Error, stream, &failure.encode());
    }

    fn write(&self, kind: Kind, nonce: u64, stream: u32, payload: &[u8]) {
        let written = self.writer().send(Frame {
            kind,
            more: false,
            nonce,
            stream,
            payload,
        });
        self.note(written);
    }

    fn note(&self, written: io::Result<()>) {
        if written.is_err() {
            self.shared.broken.store(true, Ordering::Relaxed);
        }
    }

    fn writer(&self) -> MutexGuard<'_, FrameWriter<File>> {
        let writer = self.shared.writer.lock();
        writer.unwrap_or_else(PoisonError::into_inner)
    }
}
