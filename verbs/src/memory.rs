//! Memory that a remote side may read and write at any time.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mlock, mmap_anonymous, munmap};
use nix::sys::resource::{Resource, getrlimit};

use crate::error::{Error, Result};

const WORD: usize = size_of::<u64>();

/// How much this process may lock, `None` for no limit. Registered memory is
/// counted against it just as locked memory is, unless the process has
/// `CAP_IPC_LOCK`.
pub fn memlock_limit() -> Option<u64> {
    match getrlimit(Resource::RLIMIT_MEMLOCK) {
        Ok((soft, _)) if soft != libc::RLIM_INFINITY => Some(soft),
        _ => None,
    }
}

/// A private, populated, page-aligned mapping.
///
/// All access goes through relaxed atomic words: the adapter may read or write
/// the same bytes meanwhile, and what is seen then is whole words of either.
///
/// # Invariants
///
/// `start` is the start of a mapping of `len` bytes, a multiple of the word
/// size, that nothing but `drop` unmaps.
#[derive(Debug)]
pub struct Memory {
    start: NonNull<c_void>,
    len: usize,
    locked: bool,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is only
// touched through atomics.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps `len` zeroed bytes, rounded up to whole pages, all present.
    pub fn map(len: usize) -> Result<Memory> {
        let len = len.max(1).next_multiple_of(4096);
        let Some(size) = NonZeroUsize::new(len) else {
            return Err(Error::code("map memory", libc::ENOMEM));
        };
        // SAFETY: a new anonymous mapping where the kernel likes it touches
        // nothing that exists.
        let start = unsafe {
            mmap_anonymous(
                None,
                size,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_PRIVATE,
            )
        }
        .map_err(|e| Error::code("map memory", e as i32))?;
        // INVARIANT: just mapped with this length, which is whole pages.
        let mut memory = Memory {
            start,
            len,
            locked: false,
        };
        // Huge pages where there are any: they are populated and registered
        // many times faster.
        let _ = memory.advise(libc::MADV_HUGEPAGE);
        // Before it has pages, so that it becomes one with what is mapped beside
        // it: a process may have 65530 areas, and pieces may be more.
        // SAFETY: exactly the mapping made above.
        memory.locked = unsafe { mlock(start, len) }.is_ok();
        match memory.advise(libc::MADV_POPULATE_WRITE) {
            Ok(()) => {}
            // Kernels before 5.14.
            Err(Errno::EINVAL) => memory.zero(),
            Err(e) => return Err(Error::code("populate memory", e as i32)),
        }
        Ok(memory)
    }

    fn advise(&self, advice: i32) -> nix::Result<()> {
        // SAFETY: the range is the mapping, and the kinds of advice given above
        // keep its contents.
        Errno::result(unsafe { libc::madvise(self.as_ptr(), self.len, advice) }).map(drop)
    }

    /// Whether the kernel agreed to lock it.
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    /// Bytes mapped.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: a mapping has at least one page.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Address of the first byte, as the adapter and a peer know it.
    pub fn addr(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    pub(crate) fn as_ptr(&self) -> *mut c_void {
        self.start.as_ptr()
    }

    fn words(&self, offset: usize, len: usize) -> Result<&[AtomicU64]> {
        let fits = offset.checked_add(len).is_some_and(|end| end <= self.len);
        if !fits || offset % WORD != 0 || len % WORD != 0 {
            return Err(Error::Range {
                offset,
                len,
                size: self.len,
            });
        }
        // SAFETY: the range lies in the mapping (the type's invariant), which is
        // aligned to pages and lives as long as `self`; every access in this
        // process is atomic.
        Ok(unsafe {
            std::slice::from_raw_parts(
                self.as_ptr().byte_add(offset).cast::<AtomicU64>(),
                len / WORD,
            )
        })
    }

    /// Copies out; offset and length are multiples of 8.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<()> {
        let words = self.words(offset, into.len())?;
        for (word, bytes) in words.iter().zip(into.chunks_exact_mut(WORD)) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        Ok(())
    }

    /// Copies in; offset and length are multiples of 8.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<()> {
        let words = self.words(offset, from.len())?;
        for (word, bytes) in words.iter().zip(from.chunks_exact(WORD)) {
            let mut value = [0; WORD];
            value.copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Inverts the bits of `mask` in one word.
    pub fn flip(&self, offset: usize, mask: u64) -> Result<()> {
        for word in self.words(offset, WORD)? {
            word.fetch_xor(mask, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Zeroes all of it.
    pub fn zero(&self) {
        if let Ok(words) = self.words(0, self.len) {
            for word in words {
                word.store(0, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`; no borrow of it can be left. A
        // registration of it holds an `Arc` of this and is gone too.
        let _ = unsafe { munmap(self.start, self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back() {
        let memory = Memory::map(5000).unwrap();
        assert_eq!(memory.len(), 8192);
        memory.write(4096, b"01234567").unwrap();
        memory.flip(4096, 1).unwrap();
        let mut seen = [0; 16];
        memory.read(4096, &mut seen).unwrap();
        assert_eq!(&seen[..8], b"11234567");
        memory.zero();
        memory.read(4096, &mut seen).unwrap();
        assert_eq!(seen, [0; 16]);
    }

    #[test]
    fn many_pieces_are_few_areas() {
        let pieces: Vec<_> = (0..64).map(|_| Memory::map(64 << 10).unwrap()).collect();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let has_a_piece = |line: &&str| {
            let (start, rest) = line.split_once('-').unwrap();
            let (end, _) = rest.split_once(' ').unwrap();
            let [start, end] = [start, end].map(|at| u64::from_str_radix(at, 16).unwrap());
            pieces
                .iter()
                .any(|piece| (start..end).contains(&piece.addr()))
        };
        let areas = maps.lines().filter(has_a_piece).count();
        assert!(areas <= 8, "{areas} areas: {maps}");
    }

    #[test]
    fn ranges_are_checked() {
        let memory = Memory::map(4096).unwrap();
        let mut word = [0; 8];
        for offset in [4, 4096, 4092, usize::MAX - 7] {
            assert!(
                matches!(memory.read(offset, &mut word), Err(Error::Range { .. })),
                "{offset}"
            );
        }
        assert!(memory.read(0, &mut [0; 7]).is_err());
        assert!(memory.flip(4096, 1).is_err());
    }
}
