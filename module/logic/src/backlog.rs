// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! Operations that wait for their turn, each up to its own deadline.
//!
//! Takes no lock, allocates nothing. Times are those of any one clock.

use super::fifo::Ring;
use super::send_queue::Route;

/// What can wait.
pub trait Waiting {
    /// When its time is over.
    fn due(&self) -> u64;
}

/// Why no more were taken out.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop<T, E> {
    /// Nothing waits, or the first has to wait on.
    Waiting,
    /// The time of this one is over.
    Over(T),
    /// This one has no place, so it never was stored in this memory.
    Nowhere(T),
    /// This one could not be held, for this reason.
    Refused(T, E),
}

/// First in, first out, for as many as `S` has places.
pub struct Backlog<T, S>(Ring<T, S>);

impl<T: Waiting, S: AsRef<[Option<T>]> + AsMut<[Option<T>]>> Backlog<T, S> {
    /// Empty, with places that all are `None`.
    pub fn of(places: S) -> Self {
        Backlog(Ring::of(places))
    }

    /// How many wait.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Puts one at the end; gives it back if there is no room.
    pub fn park(&mut self, one: T) -> Result<(), T> {
        self.0.push(one)
    }

    /// Takes out what has a place that `fits`, for `hold`, up to the first that has not or that is
    /// not to be held. One whose time is over is not: posted, it would only end this session too.
    pub fn pump<E>(
        &mut self,
        now: u64,
        place: impl Fn(&T) -> Option<Route>,
        fits: impl Fn(&Route) -> bool,
        hold: impl Fn(T, Route) -> Result<(), (T, E)>,
    ) -> Stop<T, E> {
        while let Some(first) = self.0.first() {
            let is_over = is_over(first, now);
            let route = place(first);
            if !is_over && route.is_some_and(|route| !fits(&route)) {
                break;
            }
            let Some(first) = self.0.pop() else { break };
            if is_over {
                return Stop::Over(first);
            }
            let Some(route) = route else {
                return Stop::Nowhere(first);
            };
            if let Err((first, error)) = hold(first, route) {
                return Stop::Refused(first, error);
            }
        }
        Stop::Waiting
    }

    /// Takes out one that is `wanted`.
    pub fn take(&mut self, wanted: impl Fn(&T) -> bool) -> Option<T> {
        self.0.take(wanted)
    }

    /// Takes out one whose time is over.
    pub fn expired(&mut self, now: u64) -> Option<T> {
        self.0.take(|one| is_over(one, now))
    }

    /// Takes out the first.
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }
}

fn is_over(one: &impl Waiting, now: u64) -> bool {
    one.due() <= now
}
