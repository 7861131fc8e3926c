//! A region that is a file of a tmpfs, which is read and written as such too.

use std::fs::{File, OpenOptions, remove_file};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc::off_t;
use nix::unistd::ftruncate;

use super::Region;
use crate::pattern::{PAGE, WORDS};

impl Region {
    /// Maps a new file in `directory`. It has no name after that: nobody else
    /// can have it, and nothing is left of it.
    pub fn file_in(directory: &Path, pages: usize) -> io::Result<Region> {
        let path = directory.join(format!("pages-{}", std::process::id()));
        let mut new = OpenOptions::new();
        let file = new.read(true).write(true).create_new(true).open(&path)?;
        remove_file(&path)?;
        Ok(Region::of_file(file, pages)?)
    }

    /// Writes a page with `write(2)`, past the mapping.
    pub fn write_file(&mut self, number: usize, contents: &[u64; WORDS]) -> io::Result<()> {
        let bytes: Vec<u8> = contents
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        self.its_file()?.write_all_at(&bytes, offset(number))
    }

    /// Reads a page with `read(2)`, past the mapping.
    pub fn read_file(&self, number: usize) -> io::Result<[u64; WORDS]> {
        let mut bytes = [0; PAGE];
        self.its_file()?.read_exact_at(&mut bytes, offset(number))?;
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into().map_err(io::Error::other)?);
        }
        Ok(words)
    }

    /// Makes the file `bytes` long, which is no more than was mapped. A page
    /// of which a part is left is there to read, zero after the end.
    pub fn truncate(&mut self, bytes: usize) -> io::Result<()> {
        let pages = bytes.div_ceil(PAGE);
        if pages > self.mapped {
            return Err(io::Error::other("longer than what is mapped"));
        }
        // Those beyond the end are lost first: to touch one is SIGBUS.
        self.pages = self.pages.min(pages);
        ftruncate(self.its_file()?, bytes as off_t)?;
        self.pages = pages;
        Ok(())
    }

    /// Makes a hole of these bytes in the file.
    pub fn punch(&mut self, bytes: Range<usize>) -> io::Result<()> {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let (start, length) = (bytes.start as off_t, bytes.len() as off_t);
        Ok(fallocate(
            self.its_file()?.as_raw_fd(),
            flags,
            start,
            length,
        )?)
    }

    /// Pages that the file has, in memory and in swap; its holes are none.
    pub fn allocated(&self) -> io::Result<u64> {
        Ok(self.its_file()?.metadata()?.blocks() * 512 / PAGE as u64)
    }

    fn its_file(&self) -> io::Result<&File> {
        let none = || io::Error::other("this memory is no file");
        self.file.as_ref().ok_or_else(none)
    }
}

fn offset(number: usize) -> u64 {
    (number * PAGE) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(pages: usize) -> Region {
        let mut region = Region::file_in(Path::new("/dev/shm"), pages).expect("a file");
        for number in 0..pages {
            region.store(number, &[number as u64 + 1; WORDS]);
        }
        region
    }

    #[test]
    fn file_and_mapping_are_the_same() {
        let mut region = region(2);
        assert_eq!(region.read_file(1).expect("read"), [2; WORDS]);
        region.write_file(0, &[9; WORDS]).expect("write");
        assert_eq!(region.load(0), [9; WORDS]);
        assert_eq!(region.allocated().expect("stat"), 2);
    }

    #[test]
    fn what_was_cut_off_is_zero_when_it_is_there_again() {
        let mut region = region(3);
        region.truncate(PAGE + 8).expect("truncate");
        assert_eq!(region.pages(), 2);
        region.truncate(3 * PAGE).expect("truncate");
        let mut left = [0; WORDS];
        left[0] = 2;
        assert_eq!((region.load(1), region.load(2)), (left, [0; WORDS]));
        assert!(region.truncate(3 * PAGE + 1).is_err());
    }

    #[test]
    fn a_hole_is_zero_and_takes_no_memory() {
        let mut region = region(3);
        region.punch(PAGE..2 * PAGE).expect("punch");
        assert_eq!((region.load(1), region.load(2)), ([0; WORDS], [3; WORDS]));
        region.punch(PAGE..2 * PAGE).expect("punch");
        assert_eq!(region.allocated().expect("stat"), 2);
    }
}
