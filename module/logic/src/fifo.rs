// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! Queues of fixed size.
//!
//! Takes no lock, allocates nothing.

use core::marker::PhantomData;

/// First in, first out, for as many as `S` has places.
pub struct Ring<T, S> {
    places: S,
    first: usize,
    len: usize,
    items: PhantomData<T>,
}

/// One with `N` places of its own.
pub type Fifo<T, const N: usize> = Ring<T, [Option<T>; N]>;

impl<T, const N: usize> Fifo<T, N> {
    /// Empty.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Ring {
            places: [const { None }; N],
            first: 0,
            len: 0,
            items: PhantomData,
        }
    }
}

impl<T, S: AsRef<[Option<T>]> + AsMut<[Option<T>]>> Ring<T, S> {
    /// Empty, with places that all are `None`.
    pub fn of(places: S) -> Self {
        Ring {
            places,
            first: 0,
            len: 0,
            items: PhantomData,
        }
    }

    // The place `distance` behind the first.
    fn at(&self, distance: usize) -> Option<usize> {
        (self.first + distance).checked_rem(self.places.as_ref().len())
    }

    /// How many are in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The one that is taken next.
    pub fn first(&self) -> Option<&T> {
        self.places.as_ref().get(self.first)?.as_ref()
    }

    /// The one that was put last.
    pub fn last(&self) -> Option<&T> {
        let last = self.at(self.len.checked_sub(1)?)?;
        self.places.as_ref().get(last)?.as_ref()
    }

    /// All that are in it, from the first to the last.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.len).filter_map(|at| self.places.as_ref().get(self.at(at)?)?.as_ref())
    }

    /// Puts one at the end; gives it back if there is no room.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.len == self.places.as_ref().len() {
            return Err(item);
        }
        let end = self.at(self.len);
        match end.and_then(|end| self.places.as_mut().get_mut(end)) {
            Some(place) => *place = Some(item),
            None => return Err(item),
        }
        self.len += 1;
        Ok(())
    }

    /// Takes the first.
    pub fn pop(&mut self) -> Option<T> {
        let item = self.places.as_mut().get_mut(self.first)?.take()?;
        self.first = self.at(1)?;
        self.len -= 1;
        Some(item)
    }

    /// Takes the first one that is `wanted`; the others keep their order.
    pub fn take(&mut self, wanted: impl Fn(&T) -> bool) -> Option<T> {
        let mut found = None;
        for _ in 0..self.len {
            let Some(item) = self.pop() else { break };
            if found.is_none() && wanted(&item) {
                found = Some(item);
            } else if let Err(item) = self.push(item) {
                // There is room: it was just popped.
                drop(item);
            }
        }
        found
    }
}
