// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! A queue of fixed size.
//!
//! Takes no lock, allocates nothing.

/// First in, first out, for up to `N`.
pub struct Fifo<T, const N: usize> {
    items: [Option<T>; N],
    first: usize,
    len: usize,
}

impl<T, const N: usize> Fifo<T, N> {
    /// Empty.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Fifo {
            items: [const { None }; N],
            first: 0,
            len: 0,
        }
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
        self.items.get(self.first)?.as_ref()
    }

    /// The one that was put last.
    pub fn last(&self) -> Option<&T> {
        let last = (self.first + self.len.checked_sub(1)?) % N;
        self.items.get(last)?.as_ref()
    }

    /// All that are in it, from the first to the last.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.len).filter_map(|at| self.items.get((self.first + at) % N)?.as_ref())
    }

    /// Puts one at the end; gives it back if there is no room.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.len == N {
            return Err(item);
        }
        let end = (self.first + self.len) % N;
        match self.items.get_mut(end) {
            Some(place) => *place = Some(item),
            None => return Err(item),
        }
        self.len += 1;
        Ok(())
    }

    /// Takes the first.
    pub fn pop(&mut self) -> Option<T> {
        let item = self.items.get_mut(self.first)?.take()?;
        self.first = (self.first + 1) % N;
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
