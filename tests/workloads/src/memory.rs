//! A mapped region of pages. The only module here with unsafe code, its parts
//! included.

mod file;
pub mod userfault;

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::libc;
use nix::sys::memfd::{MemFdCreateFlag, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mlock, mmap, mmap_anonymous, munlock, munmap};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, ftruncate};

use crate::pattern::{PAGE, Pattern, WORDS};

/// What kind of memory a region is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Private anonymous memory: copied on write after a fork.
    Anonymous,
    /// A shared mapping of a tmpfs file (memfd): swapped as shmem.
    Shared,
    /// Shared anonymous memory, which a child has in common with its parent.
    Common,
}

/// What the kernel is told of pages, as `madvise(2)` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Page them out now.
    PageOut,
    /// Begin to bring in those that are out.
    WillNeed,
    /// Forget what anonymous ones hold: they are zero from now on.
    DontNeed,
    /// Forget it when memory is short, unless they are written before.
    Free,
    /// Merge those that hold the same.
    Mergeable,
    /// No longer merge them, and part those that are merged.
    Unmergeable,
    /// Let folios of several pages be made of them, of the sizes that are
    /// enabled.
    Huge,
}

impl Advice {
    fn number(self) -> libc::c_int {
        match self {
            Advice::PageOut => libc::MADV_PAGEOUT,
            Advice::WillNeed => libc::MADV_WILLNEED,
            Advice::DontNeed => libc::MADV_DONTNEED,
            Advice::Free => libc::MADV_FREE,
            Advice::Mergeable => libc::MADV_MERGEABLE,
            Advice::Unmergeable => libc::MADV_UNMERGEABLE,
            Advice::Huge => libc::MADV_HUGEPAGE,
        }
    }
}

const PROTECTION: ProtFlags = ProtFlags::PROT_READ.union(ProtFlags::PROT_WRITE);

/// Pages mapped for reading and writing, unmapped when dropped.
#[derive(Debug)]
pub struct Region {
    start: NonNull<libc::c_void>,
    /// Pages of the mapping.
    mapped: usize,
    /// Those before the end of the file.
    pages: usize,
    /// Whether the kernel may zero a page at any time.
    freed: bool,
    file: Option<File>,
}

impl Region {
    /// Maps `pages` pages. Huge pages are switched off until they are advised:
    /// most tests count 4 KiB pages.
    pub fn map(kind: Kind, pages: usize) -> nix::Result<Region> {
        let shared = match kind {
            Kind::Anonymous => MapFlags::MAP_PRIVATE,
            Kind::Common => MapFlags::MAP_SHARED,
            Kind::Shared => {
                let file = memfd_create(c"pattern", MemFdCreateFlag::MFD_CLOEXEC)?;
                return Region::of_file(File::from(file), pages);
            }
        };
        let length = length(pages)?;
        let flags = shared | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice replaces
        // none of ours.
        let start = unsafe { mmap_anonymous(None, length, PROTECTION, flags) }?;
        Region::of_mapping(start, pages, None)
    }

    /// Maps a file that nobody else has, after making it that long.
    fn of_file(file: File, pages: usize) -> nix::Result<Region> {
        let length = length(pages)?;
        ftruncate(&file, length.get() as libc::off_t)?;
        // SAFETY: a new mapping at an address of the kernel's choice; nobody
        // else has the file, so that it is truncated by `truncate` alone.
        let start = unsafe {
            mmap(
                None,
                length,
                PROTECTION,
                MapFlags::MAP_SHARED,
                file.as_fd(),
                0,
            )
        }?;
        Region::of_mapping(start, pages, Some(file))
    }

    fn of_mapping(
        start: NonNull<libc::c_void>,
        pages: usize,
        file: Option<File>,
    ) -> nix::Result<Region> {
        let region = Region {
            start,
            mapped: pages,
            pages,
            freed: false,
            file,
        };
        match region.madvise(0..pages, libc::MADV_NOHUGEPAGE) {
            // A kernel without huge pages does not know the advice.
            Ok(()) | Err(nix::Error::EINVAL) => Ok(region),
            Err(error) => Err(error),
        }
    }

    /// Number of pages: of a file that was truncated, those it still has.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Address of the first page.
    pub fn address(&self) -> usize {
        self.start.as_ptr() as usize
    }

    /// Reads a page. Not for memory of which the kernel was told that it may
    /// be freed.
    pub fn page(&self, number: usize) -> &[u64] {
        let words = self.borrowed(number);
        // SAFETY: the page lies inside the mapping, is aligned, initialised
        // (by the kernel, to zero, if by nobody else), and borrowed from
        // `self`; after a fork a shared page is written by neither process.
        unsafe { std::slice::from_raw_parts(words, WORDS) }
    }

    /// Writes a page.
    pub fn page_mut(&mut self, number: usize) -> &mut [u64] {
        let words = self.borrowed(number);
        // SAFETY: as for `page`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(words, WORDS) }
    }

    /// Copies a page out of memory that another process, or the kernel, may
    /// write meanwhile.
    pub fn load(&self, number: usize) -> [u64; WORDS] {
        std::array::from_fn(|index| self.word(number, index).load(Ordering::Relaxed))
    }

    /// Copies a page into such memory.
    pub fn store(&mut self, number: usize, contents: &[u64; WORDS]) {
        self.common().store(number, contents);
    }

    /// What several threads may use at once.
    pub fn common(&mut self) -> Common<'_> {
        Common { region: self }
    }

    fn word(&self, number: usize, index: usize) -> &AtomicU64 {
        assert!(index < WORDS, "word {index} of a page");
        // SAFETY: the word lies inside the mapping and is aligned. Nobody
        // writes it in another way while it is used: `page_mut` has the region
        // to itself, and `Common` has it from who could have borrowed pages.
        unsafe { AtomicU64::from_ptr(self.words(number).add(index)) }
    }

    fn words(&self, number: usize) -> *mut u64 {
        assert!(number < self.pages, "page {number} of {}", self.pages);
        // SAFETY: the page lies inside the mapping.
        unsafe { self.start.as_ptr().cast::<u64>().add(number * WORDS) }
    }

    fn borrowed(&self, number: usize) -> *mut u64 {
        assert!(!self.freed, "page {number} may be freed at any time");
        self.words(number)
    }

    /// Asks the kernel to page `range` out now.
    pub fn page_out(&self, range: Range<usize>) -> nix::Result<()> {
        self.madvise(range, libc::MADV_PAGEOUT)
    }

    /// Tells the kernel what becomes of `range`.
    pub fn advise(&mut self, range: Range<usize>, advice: Advice) -> nix::Result<()> {
        self.freed |= advice == Advice::Free;
        self.madvise(range, advice.number())
    }

    /// Brings `range` in and keeps it in memory.
    pub fn lock(&self, range: Range<usize>) -> nix::Result<()> {
        let (start, length) = self.bounds(&range);
        // SAFETY: the range lies inside the mapping, and no contents change.
        unsafe { mlock(start, length) }
    }

    /// Lets `range` leave again.
    pub fn unlock(&self, range: Range<usize>) -> nix::Result<()> {
        let (start, length) = self.bounds(&range);
        // SAFETY: as for `lock`.
        unsafe { munlock(start, length) }
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

    fn madvise(&self, range: Range<usize>, advice: libc::c_int) -> nix::Result<()> {
        let (start, length) = self.bounds(&range);
        // SAFETY: the range lies inside the mapping. An advice that changes
        // contents comes by `advise`, with nothing borrowed of `self`.
        let result = unsafe { libc::madvise(start.as_ptr(), length, advice) };
        nix::Error::result(result).map(drop)
    }

    /// Address and bytes of a range of pages, which has to be inside.
    fn bounds(&self, range: &Range<usize>) -> (NonNull<libc::c_void>, usize) {
        assert!(range.start <= range.end && range.end <= self.pages);
        // SAFETY: the range lies inside the mapping.
        let start = unsafe { self.start.byte_add(range.start * PAGE) };
        (start, range.len() * PAGE)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and every borrow of it has ended. It
        // can fail only for a range that is none.
        let _ = unsafe { munmap(self.start, self.mapped * PAGE) };
    }
}

/// A region of which each word is read and written by itself, by any thread.
#[derive(Clone, Copy, Debug)]
pub struct Common<'a> {
    region: &'a Region,
}

// SAFETY: the region is borrowed exclusively, so that no page of it is, and all
// that this does with its words is atomic.
unsafe impl Send for Common<'_> {}
// SAFETY: likewise.
unsafe impl Sync for Common<'_> {}

impl Common<'_> {
    /// Number of pages.
    pub fn pages(self) -> usize {
        self.region.pages()
    }

    /// Copies a page out.
    pub fn load(self, number: usize) -> [u64; WORDS] {
        self.region.load(number)
    }

    /// Copies a page in.
    pub fn store(self, number: usize, contents: &[u64; WORDS]) {
        for (index, &word) in contents.iter().enumerate() {
            self.store_word(number, index, word);
        }
    }

    /// Writes one word of a page.
    pub fn store_word(self, number: usize, index: usize, word: u64) {
        self.region
            .word(number, index)
            .store(word, Ordering::Relaxed);
    }

    /// Writes one word of a page, and gives what it was, in one access.
    pub fn swap_word(self, number: usize, index: usize, word: u64) -> u64 {
        self.region
            .word(number, index)
            .swap(word, Ordering::Relaxed)
    }

    /// Tells the kernel what becomes of `range`. That it may free it at any
    /// time is for [`Region::advise`].
    pub fn advise(self, range: Range<usize>, advice: Advice) -> nix::Result<()> {
        if advice == Advice::Free {
            return Err(nix::Error::EINVAL);
        }
        self.region.madvise(range, advice.number())
    }

    /// Whether a child, forked here and now whatever other threads do, finds
    /// `pattern` in every byte of `range`.
    pub fn child_finds(self, pattern: Pattern, range: Range<usize>) -> nix::Result<bool> {
        assert!(range.start <= range.end && range.end <= self.pages());
        // SAFETY: the child has one thread, and takes no lock that another may
        // have held: it reads memory, computes, and ends without a clean-up.
        match unsafe { nix::unistd::fork() }? {
            ForkResult::Child => {
                let right = range.into_iter().all(|number| {
                    let found = self.load(number);
                    (0..WORDS).all(|index| found[index] == pattern.word(number as u64, index))
                });
                // SAFETY: it ends this process.
                unsafe { libc::_exit(i32::from(!right)) }
            }
            ForkResult::Parent { child } => match waitpid(child, None)? {
                WaitStatus::Exited(_, code) => Ok(code == 0),
                _ => Err(nix::Error::ECHILD),
            },
        }
    }
}

/// Bytes of `pages` pages, of which there must be some.
fn length(pages: usize) -> nix::Result<NonZeroUsize> {
    NonZeroUsize::new(pages * PAGE).ok_or(nix::Error::EINVAL)
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
    fn every_kind_keeps_what_is_written() {
        for kind in [Kind::Anonymous, Kind::Shared, Kind::Common] {
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
    fn what_is_copied_in_is_copied_out() {
        let mut region = Region::map(Kind::Common, 2).expect("mapping");
        region.store(1, &[7; WORDS]);
        assert_eq!((region.load(0), region.load(1)), ([0; WORDS], [7; WORDS]));
    }

    #[test]
    fn threads_write_words_of_one_page() {
        let mut region = Region::map(Kind::Anonymous, 1).expect("mapping");
        let common = region.common();
        std::thread::scope(|scope| {
            for thread in 0..2 {
                scope.spawn(move || {
                    for index in (thread..WORDS).step_by(2) {
                        common.store_word(0, index, 1);
                        assert_eq!(common.swap_word(0, index, index as u64), 1);
                    }
                });
            }
        });
        assert_eq!(region.load(0), std::array::from_fn(|index| index as u64));
    }

    #[test]
    fn a_child_finds_what_was_there() {
        let mut region = Region::map(Kind::Anonymous, 2).expect("mapping");
        let pattern = Pattern::new(1);
        pattern.fill(1, region.page_mut(1));
        let common = region.common();
        assert_eq!(common.child_finds(pattern, 1..2), Ok(true));
        assert_eq!(common.child_finds(pattern, 0..2), Ok(false));
        assert!(common.advise(0..1, Advice::Free).is_err());
    }

    #[test]
    fn what_is_not_needed_is_zero() {
        let mut region = Region::map(Kind::Anonymous, 2).expect("mapping");
        for number in 0..2 {
            region.store(number, &[7; WORDS]);
        }
        region.advise(0..1, Advice::DontNeed).expect("madvise");
        assert_eq!((region.load(0), region.load(1)), ([0; WORDS], [7; WORDS]));
    }

    #[test]
    #[should_panic(expected = "may be freed")]
    fn what_may_be_freed_is_not_borrowed() {
        let mut region = Region::map(Kind::Anonymous, 1).expect("mapping");
        region.advise(0..1, Advice::Free).expect("madvise");
        region.page(0);
    }

    #[test]
    fn nothing_cannot_be_mapped() {
        assert!(Region::map(Kind::Anonymous, 0).is_err());
    }
}
