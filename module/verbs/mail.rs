// SPDX-License-Identifier: GPL-2.0-only

//! What the connection manager has to say, for the worker that waits for it.
//!
//! Lock order: `mail` is innermost but for the completion's own. Nothing is allocated, and only
//! [`Mailbox::wait`] sleeps.

use super::wait::Completion;
use kernel::prelude::*;
use kernel::sync::{new_spinlock, SpinLock};

/// Longest private data that is kept.
const PRIVATE: usize = 64;

/// The beginning of the peer's private data.
#[derive(Clone, Copy)]
pub(crate) struct Private {
    bytes: [u8; PRIVATE],
    len: usize,
}

impl Private {
    /// The bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

impl From<&[u8]> for Private {
    fn from(from: &[u8]) -> Private {
        let mut bytes = [0; PRIVATE];
        let mut len = 0;
        for (to, byte) in bytes.iter_mut().zip(from) {
            *to = *byte;
            len += 1;
        }
        Private { bytes, len }
    }
}

/// A step of a connection, or its end.
pub(crate) enum Event {
    /// The device is known.
    AddressResolved,
    /// The path is known.
    RouteResolved,
    /// Connected.
    Established {
        /// What the peer said.
        private: Private,
        /// READs that may be outstanding at a time.
        reads: u8,
    },
    /// The peer, or its connection manager, said no.
    Rejected {
        /// What it said.
        private: Private,
        /// The manager's words for the reason.
        message: &'static str,
    },
    /// Anything else: it does not work, or no longer.
    Lost {
        /// The manager's words for it.
        name: &'static str,
        /// Its status, an errno or a number of the transport's.
        status: i32,
    },
    /// [`Mailbox::cancel`] was called.
    Cancelled,
    /// Nothing came in time.
    Silence,
}

/// What somebody has to do about an identifier that nobody waits for.
pub(crate) enum Alarm {
    /// Its connection does not work, or no longer.
    Lost(&'static str),
    /// Its device goes away, and waits until the identifier is destroyed.
    Removal,
}

struct Mail {
    event: Option<Event>,
    cancelled: bool,
    retired: bool,
}

/// Holds an identifier's last event until it is looked for.
#[pin_data]
pub(crate) struct Mailbox {
    #[pin]
    mail: SpinLock<Mail>,
    #[pin]
    arrived: Completion,
    alarm: fn(Alarm),
}

impl Mailbox {
    /// Empty. `alarm` must not sleep.
    pub(crate) fn new(alarm: fn(Alarm)) -> impl PinInit<Self> {
        pin_init!(Self {
            mail <- new_spinlock!(
                Mail { event: None, cancelled: false, retired: false },
                "remoteswap_mail"
            ),
            arrived <- Completion::new(),
            alarm,
        })
    }

    /// From now on every wait ends at once.
    pub(crate) fn cancel(&self) {
        self.mail.lock().cancelled = true;
        self.arrived.complete_for_good();
    }

    /// Waits for the next event.
    pub(crate) fn wait(&self, timeout_ms: u32) -> Event {
        // Two events may have come since the last look, and the later one taken then.
        while self.arrived.wait(timeout_ms) {
            let mut mail = self.mail.lock();
            if mail.cancelled {
                return Event::Cancelled;
            }
            if let Some(event) = mail.event.take() {
                return event;
            }
        }
        Event::Silence
    }

    pub(super) fn deliver(&self, event: Event) {
        self.mail.lock().event = Some(event);
        self.arrived.complete();
    }

    /// Its connection is over, by our own doing.
    pub(super) fn retire(&self) {
        self.mail.lock().retired = true;
    }

    pub(super) fn lose(&self, name: &'static str, status: i32) {
        let retired = self.mail.lock().retired;
        self.deliver(Event::Lost { name, status });
        if !retired {
            (self.alarm)(Alarm::Lost(name));
        }
    }

    pub(super) fn remove(&self, name: &'static str) {
        self.lose(name, 0);
        (self.alarm)(Alarm::Removal);
    }
}
