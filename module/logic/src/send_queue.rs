// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! What is on a send queue, and what is held back for it: which operations become one work request,
//! which requests are posted together, and which operations a completion ends.
//!
//! Operations that are held one after the other, and whose places at the peer follow each other,
//! become one work request of several pieces: the adapter, the peer's and, with packets of their
//! size, the wire have less to do for each. Its completion is that of the last one in it.
//!
//! Of WRITEs that are posted together only the last asks for a completion, of READs each: somebody
//! waits for it. A queue pair executes in order (InfiniBand Architecture Specification, volume 1,
//! 9.5 and 10.8.3): a completion ends all that were posted before it. A failed one completes
//! unasked, and so does each behind it; those before it without a completion were done, but
//! whoever waits for them is told of the failure all the same, since the session is over.
//!
//! Pure: operations are the numbers of the slots that they are in, and the driver, which has the
//! work requests in those slots, does to them what it is answered here.

use super::bitmap::MAX_SLOTS;
use super::fifo::Fifo;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// From here to the peer.
    Write,
    /// From the peer to here.
    Read,
}

/// What to move where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which way.
    pub verb: Verb,
    /// Bytes from the page's start.
    pub len: u32,
    /// The peer's address.
    pub addr: u64,
    /// And the key to it.
    pub rkey: u32,
}

/// Slots, in the order in which they were held or posted.
pub type Slots = Fifo<u8, MAX_SLOTS>;

/// What becomes of an operation that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A work request of its own.
    Begins {
        /// The slot of the request that it is linked behind; `None`: it is the list's first.
        behind: Option<u8>,
        /// Whether it asks for a completion wherever in the list it is.
        signalled: bool,
    },
    /// The last piece of the request in this slot, whose completion is now that of this operation.
    Joins(u8),
}

/// The list of all work requests that are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The slot of its first request.
    pub first: u8,
    /// The slot of its last request, which asks for a completion, or has one behind it that does.
    pub request: u8,
    /// What that one does.
    pub verb: Verb,
    /// The slot of its last operation, which is in that request.
    pub last: u8,
}

/// An operation, held or posted.
struct Piece {
    slot: u8,
    // Whether it is the first one of a work request.
    begins: bool,
}

/// The last one of the work requests that the held ones make.
struct Request {
    slot: u8,
    verb: Verb,
    rkey: u32,
    // Where it ends at the peer; `None` at the end of all addresses.
    end: Option<u64>,
    pieces: usize,
}

impl Request {
    /// Of one operation.
    fn new(slot: u8, route: &Route) -> Request {
        Request {
            slot,
            verb: route.verb,
            rkey: route.rkey,
            end: end(route),
            pieces: 1,
        }
    }

    /// Whether another operation can be a piece of it, which may have so many.
    fn takes(&self, next: &Route, most_pieces: usize) -> bool {
        self.verb == next.verb
            && self.rkey == next.rkey
            && self.end == Some(next.addr)
            && self.pieces < most_pieces
    }
}

fn end(route: &Route) -> Option<u64> {
    route.addr.checked_add(route.len.into())
}

/// The operations of one send queue that have not ended.
///
/// # Invariants
///
/// A slot is in `held` or `posted`, and in it once, from [`SendQueue::hold`] until it is handed
/// out. `last` is `None` if and only if none is held. `requests` is how many of both begin one.
pub struct SendQueue {
    // To be posted by the next batch.
    held: Fifo<Piece, MAX_SLOTS>,
    last: Option<Request>,
    // Posted and not completed.
    posted: Fifo<Piece, MAX_SLOTS>,
    requests: usize,
    // Of what was posted last, the adapter may not have taken all.
    is_cut: bool,
}

impl SendQueue {
    /// Empty.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> SendQueue {
        SendQueue {
            held: Fifo::new(),
            last: None,
            posted: Fifo::new(),
            requests: 0,
            is_cut: false,
        }
    }

    /// How many operations are held.
    pub fn held_len(&self) -> usize {
        self.held.len()
    }

    /// The slots of those that are held.
    pub fn held(&self) -> impl Iterator<Item = u8> + '_ {
        self.held.iter().map(|piece| piece.slot)
    }

    /// How many work requests are held or posted.
    pub fn requests(&self) -> usize {
        self.requests
    }

    /// Whether there is room for another operation with no more than `most` work requests held or
    /// posted, of no more than `most_pieces` each: one that it would be a piece of, or one that may
    /// be begun.
    pub fn has_room(&self, route: &Route, most_pieces: usize, most: usize) -> bool {
        self.requests < most || self.takes(route, most_pieces)
    }

    fn takes(&self, route: &Route, most_pieces: usize) -> bool {
        let last = self.last.as_ref();
        last.is_some_and(|last| last.takes(route, most_pieces))
    }

    /// Puts the operation in a slot behind those that are held: into the last one's request, or
    /// with its own. `None`, and nothing is done, with as many held as there can be slots.
    pub fn hold(&mut self, slot: u8, route: &Route, most_pieces: usize) -> Option<Held> {
        let begins = !self.takes(route, most_pieces);
        self.held.push(Piece { slot, begins }).ok()?;
        // INVARIANT: One more is held, and counted if it begins a request, which is the last then.
        match &mut self.last {
            Some(last) if !begins => {
                last.end = end(route);
                last.pieces += 1;
                Some(Held::Joins(last.slot))
            }
            last => {
                let before = last.replace(Request::new(slot, route));
                self.requests += 1;
                Some(Held::Begins {
                    behind: before.map(|before| before.slot),
                    signalled: route.verb == Verb::Read,
                })
            }
        }
    }

    /// What to post; `None` if nothing is held, or nothing may follow what was posted.
    pub fn batch(&self) -> Option<Batch> {
        if self.is_cut {
            return None;
        }
        let request = self.last.as_ref()?;
        Some(Batch {
            first: self.held.first()?.slot,
            request: request.slot,
            verb: request.verb,
            last: self.held.last()?.slot,
        })
    }

    /// The batch was given to the adapter, which has taken all of it or may not have. Not every
    /// driver tells what it took: all ends as what was posted does, and since a completion of what
    /// comes behind it would speak for it too, nothing does until all was [abandoned](Self::abandon).
    pub fn posted(&mut self, all: bool) {
        self.is_cut = !all;
        // INVARIANT: None is held then.
        self.last = None;
        while let Some(piece) = self.held.pop() {
            // There is room for every slot.
            let _ = self.posted.push(piece);
        }
    }

    /// Hands out all, in order: none of them is going to complete.
    pub fn abandon(&mut self) -> Slots {
        let mut back = Slots::new();
        for list in [&mut self.posted, &mut self.held] {
            while let Some(piece) = list.pop() {
                // As many as there are slots.
                let _ = back.push(piece.slot);
            }
        }
        // INVARIANT: Nothing is left.
        self.last = None;
        self.requests = 0;
        self.is_cut = false;
        back
    }

    /// Hands out the one that was posted first.
    fn end_first(&mut self) -> Option<u8> {
        let first = self.posted.pop()?;
        // INVARIANT: One less.
        self.requests -= usize::from(first.begins);
        Some(first.slot)
    }
}

/// What a completion ends.
///
/// One by one, so that each can be seen to without the lock that the queue is under.
pub struct Ending(Option<u8>);

impl Ending {
    /// By the completion of the operation in a slot: nothing if that is not posted.
    pub fn of(slot: u8, queue: &SendQueue) -> Ending {
        let mut posted = queue.posted.iter();
        Ending(posted.any(|piece| piece.slot == slot).then_some(slot))
    }

    /// Hands out the next: all that were posted before it, and last itself.
    pub fn next(&mut self, queue: &mut SendQueue) -> Option<u8> {
        let completed = self.0?;
        let first = queue.end_first()?;
        if first == completed {
            self.0 = None;
        }
        Some(first)
    }
}
