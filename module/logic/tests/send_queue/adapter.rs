//! An adapter with a driver's work requests in slots, as `module/verbs/pool.rs` has them, but for
//! the memory: what the queue answers is done to linked lists here too.

use remoteswap_logic::bitmap::MAX_SLOTS;
use remoteswap_logic::send_queue::{Held, Route, SendQueue};
use std::collections::VecDeque;

/// A work request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Slots and places, in order.
    pub pieces: Vec<(u8, Route)>,
    /// Whether it asks for a completion.
    pub signalled: bool,
    /// The slot that its completion names.
    completion: u8,
    next: Option<u8>,
}

/// What ended, for the driver.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    /// Of this slot's operation.
    pub slot: u8,
    /// Whether the bytes arrived.
    pub ok: bool,
}

/// The driver's slots, and the adapter's queue.
pub struct Adapter {
    slots: [Request; MAX_SLOTS],
    // Taken, and not done.
    posted: VecDeque<Request>,
    // Done, and nobody was told.
    done: VecDeque<Request>,
    // After a failure all is flushed.
    failed: bool,
}

impl Adapter {
    pub fn new() -> Adapter {
        Adapter {
            slots: [const { EMPTY }; MAX_SLOTS],
            posted: VecDeque::new(),
            done: VecDeque::new(),
            failed: false,
        }
    }

    /// As `Pool::hold_slot`.
    pub fn hold(&mut self, queue: &mut SendQueue, slot: u8, route: Route, most_pieces: usize) {
        let held = queue
            .hold(slot, &route, most_pieces)
            .expect("slots are enough");
        let begun = match held {
            Held::Joins(begun) => begun,
            Held::Begins { behind, signalled } => {
                *self.slot(slot) = Request { signalled, ..EMPTY };
                if let Some(before) = behind {
                    self.slot(before).next = Some(slot);
                }
                slot
            }
        };
        let request = self.slot(begun);
        request.pieces.push((slot, route));
        request.completion = slot;
    }

    /// As `Pool::flush`, by an adapter that takes so many requests at most. What it was given.
    pub fn post(&mut self, queue: &mut SendQueue, most: usize) -> Vec<Request> {
        let Some(batch) = queue.batch() else {
            return Vec::new();
        };
        self.slot(batch.request).signalled = true;
        let mut names = vec![batch.first];
        while let Some(next) = self.slot(*names.last().expect("one")).next {
            names.push(next);
            assert!(names.len() <= MAX_SLOTS, "the list has an end");
        }
        assert_eq!(names.last(), Some(&batch.request));
        let list: Vec<_> = names.iter().map(|name| self.slot(*name).clone()).collect();
        let last = list.last().expect("one");
        assert_eq!(last.completion, batch.last);
        assert!(
            last.pieces
                .iter()
                .all(|(_, route)| route.verb == batch.verb)
        );
        self.posted.extend(list.iter().take(most).cloned());
        queue.posted(list.len() <= most);
        list
    }

    /// Executes what was posted, up to something that completes: the next that asks for it, or with
    /// `fail` the next of all, and then each.
    pub fn complete(&mut self, fail: bool) -> Option<Completion> {
        self.failed |= fail;
        loop {
            let request = self.posted.pop_front()?;
            let completion = Completion {
                slot: request.completion,
                ok: !self.failed,
            };
            if self.failed || request.signalled {
                self.done.clear();
                return Some(completion);
            }
            self.done.push_back(request);
        }
    }

    /// Whether the driver has not been told of the end of something that was taken.
    pub fn is_busy(&self) -> bool {
        !self.posted.is_empty() || !self.done.is_empty()
    }

    fn slot(&mut self, slot: u8) -> &mut Request {
        &mut self.slots[usize::from(slot)]
    }
}

const EMPTY: Request = Request {
    pieces: Vec::new(),
    signalled: false,
    completion: 0,
    next: None,
};
