//! A mapped region of pages. The only module here with unsafe code.

use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use nix::libc;
use nix::sys::memfd::{MemFdCreateFlag, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use nix::unistd::{ForkResult, ftruncate};

use crate::pattern::{PAGE, WORDS};

/// What kind of memory a region is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Private anonymous memory: copied on write after a fork.
    Anonymous,
    /// A shared mapping of a tmpfs file (memfd): swapped as shmem.
    Shared,
}

/// Pages mapped for reading and writing, unmapped when dropped.
#[derive(Debug)]
pub struct Region {
    start: NonNull<libc::c_void>,
    pages: usize,
    _file: Option<OwnedFd>,
}

impl Region {
    /// Maps `pages` pages. Huge pages are switched off: the tests count 4 KiB
    /// pages.
    pub fn map(kind: Kind, pages: usize) -> nix::Result<Region> {
        let length = NonZeroUsize::new(pages * PAGE).ok_or(nix::Error::EINVAL)?;
        let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let (start, file) = match kind {
            Kind::Anonymous => {
                let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
                // SAFETY: a new mapping at an address of the kernel's choice
                // replaces none of ours.
                (unsafe { mmap_anonymous(None, length, prot, flags) }?, None)
            }
            Kind::Shared => {
                let file = memfd_create(c"pattern", MemFdCreateFlag::MFD_CLOEXEC)?;
                ftruncate(&file, length.get() as libc::off_t)?;
                // SAFETY: as above; nobody else has the file, so it is not
                // truncated under the mapping.
                let start = unsafe { mmap(None, length, prot, MapFlags::MAP_SHARED, &file, 0) }?;
                (start, Some(file))
            }
        };
        let region = Region {
            start,
            pages,
            _file: file,
        };
        match region.advise(0..pages, libc::MADV_NOHUGEPAGE) {
            // A kernel without huge pages does not know the advice.
            Ok(()) | Err(nix::Error::EINVAL) => Ok(region),
            Err(error) => Err(error),
        }
    }

    /// Number of pages.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Address of the first page.
    pub fn address(&self) -> usize {
        self.start.as_ptr() as usize
    }

    /// Reads a page.
    pub fn page(&self, number: usize) -> &[u64] {
        assert!(number < self.pages, "page {number} of {}", self.pages);
        // SAFETY: the page lies inside the mapping, is aligned, initialised
        // (by the kernel, to zero, if by nobody else), and borrowed from
        // `self`; after a fork a shared page is written by neither process.
        unsafe {
            let words = self.start.as_ptr().cast::<u64>().add(number * WORDS);
            std::slice::from_raw_parts(words, WORDS)
        }
    }

    /// Writes a page.
    pub fn page_mut(&mut self, number: usize) -> &mut [u64] {
        assert!(number < self.pages, "page {number} of {}", self.pages);
        // SAFETY: as for `page`, and `self` is borrowed exclusively.
        unsafe {
            let words = self.start.as_ptr().cast::<u64>().add(number * WORDS);
            std::slice::from_raw_parts_mut(words, WORDS)
        }
    }

    /// Asks the kernel to page `range` out now.
    pub fn page_out(&self, range: Range<usize>) -> nix::Result<()> {
        self.advise(range, libc::MADV_PAGEOUT)
    }

    /// Whether each page is in memory, the swap cache included.
    pub fn resident(&self) -> nix::Result<Vec<bool>> {
        let mut flags = vec![0u8; self.pages];
        // SAFETY: the range is our mapping and `flags` has one byte per page.
        let result =
            unsafe { libc::mincore(self.start.as_ptr(), self.pages * PAGE, flags.as_mut_ptr()) };
        nix::Error::result(result)?;
        Ok(flags.into_iter().map(|flag| flag & 1 != 0).collect())
    }

    fn advise(&self, range: Range<usize>, advice: libc::c_int) -> nix::Result<()> {
        assert!(range.start <= range.end && range.end <= self.pages);
        // SAFETY: the range lies inside the mapping, and neither advice used
        // here changes contents.
        let result = unsafe {
            let start = self.start.as_ptr().byte_add(range.start * PAGE);
            libc::madvise(start, range.len() * PAGE, advice)
        };
        nix::Error::result(result).map(drop)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and every borrow of it has ended. It
        // can fail only for a range that is none.
        let _ = unsafe { munmap(self.start, self.pages * PAGE) };
    }
}

/// Forks. The caller must be the only thread of the process, which is checked.
pub fn fork() -> io::Result<ForkResult> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other("fork in a process of several threads"));
    }
    // SAFETY: there is no other thread that could hold a lock the child needs.
    Ok(unsafe { nix::unistd::fork() }?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::{Pattern, Tally};

    #[test]
    fn both_kinds_keep_what_is_written() {
        for kind in [Kind::Anonymous, Kind::Shared] {
            let mut region = Region::map(kind, 16).expect("mapping");
            let pattern = Pattern::new(1);
            for number in 0..16 {
                pattern.fill(number as u64, region.page_mut(number));
            }
            let mut tally = Tally::default();
            for number in 0..16 {
                pattern.verify(number as u64, region.page(number), &mut tally);
            }
            assert_eq!((tally.bytes_verified, tally.corrupt_bytes), (65536, 0));
            assert_eq!(region.resident().expect("mincore"), vec![true; 16]);
        }
    }

    #[test]
    fn nothing_cannot_be_mapped() {
        assert!(Region::map(Kind::Anonymous, 0).is_err());
    }
}
