//! The memory there is to lend, in chunks.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rapidswap_verbs::{Memory, Result};
use remoteswap_logic::slots::{Layout, PAGE_BYTES};

/// Chunks nobody has. What comes back is zeroed by a thread of its own before
/// anybody gets it again, so that nobody waits who does not need it.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    chunk_bytes: u64,
}

#[derive(Debug, Default)]
struct Shared {
    shelves: Mutex<Shelves>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Shelves {
    clean: Vec<Memory>,
    dirty: Vec<Memory>,
    /// Bytes the thread has in hand.
    in_hand: u64,
    closed: bool,
}

/// Chunks taken from the pool; dropping it gives them back.
#[derive(Debug)]
pub struct Portion {
    shared: Arc<Shared>,
    chunks: Vec<Arc<Memory>>,
    layout: Layout,
    lent: bool,
}

impl Portion {
    /// The memory. Every chunk but the last has the full size.
    pub fn chunks(&self) -> &[Arc<Memory>] {
        &self.chunks
    }

    /// How slots map to the chunks.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// From now on somebody may have written to it: it is zeroed when it comes
    /// back. What nobody was ever let in to is not, for that takes so long that
    /// who comes again with patience may have none left.
    pub fn lend(&mut self) {
        self.lent = true;
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        // Memory that somebody still holds, because its registration could not
        // be taken back, is never lent again.
        let whole = self.chunks.drain(..).filter_map(Arc::into_inner);
        let mut shelves = self.shared.lock();
        match self.lent {
            true => shelves.dirty.extend(whole),
            false => shelves.clean.extend(whole),
        }
        drop(shelves);
        self.shared.changed.notify_all();
    }
}

/// Maps and locks `size` bytes in chunks of `chunk_bytes`; the last may be
/// shorter.
pub fn map(size: u64, chunk_bytes: u64) -> Result<Vec<Memory>> {
    let mut chunks = Vec::new();
    let mut left = size;
    while left > 0 {
        let bytes = left.min(chunk_bytes);
        chunks.push(Memory::map(usize::try_from(bytes).unwrap_or(usize::MAX))?);
        left -= bytes;
    }
    Ok(chunks)
}

impl Pool {
    /// Lends these chunks, all of `chunk_bytes` but perhaps one that is shorter.
    pub fn new(chunks: Vec<Memory>, chunk_bytes: u64) -> Pool {
        let shelves = Shelves {
            clean: chunks,
            ..Shelves::default()
        };
        let shared = Arc::new(Shared {
            shelves: Mutex::new(shelves),
            changed: Condvar::new(),
        });
        let worker = shared.clone();
        std::thread::spawn(move || worker.clean_up());
        Pool {
            shared,
            chunk_bytes,
        }
    }

    /// Size of every chunk but perhaps one.
    pub fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes
    }

    /// Bytes that the kernel did not agree to lock.
    pub fn unlocked(&self) -> u64 {
        bytes(self.shared.lock().clean.iter().filter(|m| !m.is_locked()))
    }

    /// Bytes nobody has.
    pub fn free(&self) -> u64 {
        let shelves = self.shared.lock();
        bytes(&shelves.clean) + bytes(&shelves.dirty) + shelves.in_hand
    }

    /// Takes `wanted` bytes, 0 for all, or as much as there is. `None` if there
    /// is nothing. Waits only for zeroing that this request needs.
    pub fn take(&self, wanted: u64) -> Option<Portion> {
        let mut shelves = self.shared.lock();
        let total = bytes(&shelves.clean) + bytes(&shelves.dirty) + shelves.in_hand;
        let wanted = if wanted == 0 {
            total
        } else {
            wanted.min(total)
        };
        let wanted = wanted.checked_next_multiple_of(PAGE_BYTES)?.min(total);
        if wanted == 0 {
            return None;
        }
        while bytes(&shelves.clean) < wanted {
            shelves = self
                .shared
                .changed
                .wait(shelves)
                .unwrap_or_else(PoisonError::into_inner);
        }
        // Full chunks first, the short one last: that is the order the client's
        // arithmetic needs.
        shelves.clean.sort_by_key(|m| std::cmp::Reverse(m.len()));
        let mut missing = wanted;
        let enough = shelves.clean.iter().take_while(|chunk| {
            let more = missing > 0;
            missing = missing.saturating_sub(chunk.len() as u64);
            more
        });
        let number = enough.count();
        let count = u32::try_from(number).ok()?;
        let chunks: Vec<Memory> = shelves.clean.drain(..number).collect();
        Some(Portion {
            shared: self.shared.clone(),
            layout: Layout::new(wanted, self.chunk_bytes, count).ok()?,
            chunks: chunks.into_iter().map(Arc::new).collect(),
            lent: false,
        })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clean_up(&self) {
        let mut shelves = self.lock();
        while !shelves.closed {
            let Some(memory) = shelves.dirty.pop() else {
                shelves = self
                    .changed
                    .wait(shelves)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            shelves.in_hand = memory.len() as u64;
            drop(shelves);
            memory.zero();
            shelves = self.lock();
            shelves.in_hand = 0;
            shelves.clean.push(memory);
            self.changed.notify_all();
        }
    }
}

fn bytes<'a>(chunks: impl IntoIterator<Item = &'a Memory>) -> u64 {
    chunks.into_iter().map(|m| m.len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn first_word(memory: &Memory) -> u64 {
        let mut word = [0; 8];
        memory.read(0, &mut word).unwrap();
        u64::from_ne_bytes(word)
    }

    #[test]
    fn what_comes_back_is_zeroed() {
        let pool = Pool::new(map(3 * MIB, MIB).unwrap(), MIB);
        let mut portion = pool.take(0).unwrap();
        portion.lend();
        assert_eq!(
            (
                portion.chunks().len(),
                portion.layout().pages(),
                pool.free()
            ),
            (3, 768, 0)
        );
        assert!(pool.take(1).is_none());
        for chunk in portion.chunks() {
            chunk.write(0, b"secret!!").unwrap();
        }
        drop(portion);
        assert_eq!(pool.free(), 3 * MIB);
        let again = pool.take(0).unwrap();
        assert!(again.chunks().iter().all(|c| first_word(c) == 0));
        // Nobody was let in to it, so nobody waits for it.
        again.chunks()[0].write(0, b"nobody's").unwrap();
        drop(again);
        let again = pool.take(0).unwrap();
        assert!(again.chunks().iter().any(|c| first_word(c) != 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn portions_are_disjoint_and_fit_the_layout(
            size in MIB..6 * MIB,
            wants in prop::collection::vec(0u64..4 * MIB, 1..5),
        ) {
            let size = size & !(PAGE_BYTES - 1);
            let pool = Pool::new(map(size, MIB).unwrap(), MIB);
            let mut held = Vec::new();
            for want in wants {
                let free = pool.free();
                let Some(portion) = pool.take(want) else {
                    prop_assert_eq!(free, 0);
                    continue;
                };
                let capacity = portion.layout().pages() * PAGE_BYTES;
                prop_assert!(want == 0 || capacity >= want.min(free));
                for (i, chunk) in portion.chunks().iter().enumerate() {
                    prop_assert!(portion.layout().bytes_of(i as u32).unwrap() <= chunk.len() as u64);
                }
                held.push(portion);
            }
            let chunks: Vec<&Memory> = held.iter().flat_map(|p| p.chunks()).map(|c| &**c).collect();
            prop_assert_eq!(bytes(chunks.iter().copied()) + pool.free(), size);
            let mut starts: Vec<u64> = chunks.iter().map(|c| c.addr()).collect();
            starts.sort_unstable();
            starts.dedup();
            prop_assert_eq!(starts.len(), chunks.len());
        }
    }
}
