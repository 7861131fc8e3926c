//! Does steps.

use std::ops::Range;

use anyhow::{Context, Result, ensure};

use super::Step;
use super::contents::Contents;
use super::done::Done;
use super::handler::Handler;
use crate::memory::Region;
use crate::pagemap::{Place, places};
use crate::pattern::PAGE;
use crate::writeback::settle;

/// Memory, and who does things with it.
pub struct Performer {
    region: Region,
    handler: Option<Handler>,
}

impl Performer {
    /// Does things with a region.
    pub fn new(region: Region) -> Performer {
        Performer {
            region,
            handler: None,
        }
    }

    /// Does the steps of a line.
    pub fn perform(&mut self, steps: &[Step]) -> Result<Done> {
        let mut done = Done::default();
        for step in steps {
            self.step(step, &mut done)?;
        }
        if let Some(handler) = &self.handler {
            (done.missing, done.protected) = handler.counts();
        }
        Ok(done)
    }

    fn step(&mut self, step: &Step, done: &mut Done) -> Result<()> {
        match step {
            Step::Fill(contents, pages) => self.fill(*contents, pages)?,
            Step::Check(contents, pages) => self.check(*contents, pages, done)?,
            Step::Rewrite(old, new, pages) => {
                for number in self.inside(pages)? {
                    old.check(number, &self.region.load(number), &mut done.tally);
                    self.region.store(number, &new.page(number));
                }
            }
            Step::Either(contents, pages) => self.either(*contents, pages, done)?,
            Step::Cut(contents, page, bytes) => self.cut(*contents, *page, bytes, done)?,
            Step::Advise(advice, pages) => {
                let advised = self.region.advise(self.inside(pages)?, *advice);
                advised.with_context(|| format!("advice {advice:?}"))?;
            }
            Step::Lock(pages) => self.region.lock(self.inside(pages)?).context("mlock")?,
            Step::Unlock(pages) => self.region.unlock(self.inside(pages)?).context("munlock")?,
            Step::Write(contents, pages) => {
                for number in pages.clone() {
                    let written = self.region.write_file(number, &contents.page(number));
                    written.context("write")?;
                }
            }
            Step::Read(contents, pages) => {
                for number in pages.clone() {
                    let found = self.region.read_file(number).context("read")?;
                    contents.check(number, &found, &mut done.tally);
                }
            }
            Step::Truncate(bytes) => self.region.truncate(*bytes).context("ftruncate")?,
            Step::Punch(bytes) => self.region.punch(bytes.clone()).context("fallocate")?,
            Step::Allocated => done.allocated += self.region.allocated().context("fstat")?,
            Step::Places(pages) => self.places(pages, done)?,
            Step::Settle => settle()?,
            Step::Handle(contents, pages) => {
                let pages = self.inside(pages)?;
                self.handler = Some(Handler::start(&self.region, *contents, pages)?);
            }
            Step::Protect(pages) => {
                let handler = self.handler.as_ref().context("no handler")?;
                handler.protect(pages.clone())?;
            }
        }
        Ok(())
    }

    fn fill(&mut self, contents: Contents, pages: &Range<usize>) -> Result<()> {
        for number in self.inside(pages)? {
            self.region.store(number, &contents.page(number));
        }
        Ok(())
    }

    fn check(&self, contents: Contents, pages: &Range<usize>, done: &mut Done) -> Result<()> {
        for number in self.inside(pages)? {
            contents.check(number, &self.region.load(number), &mut done.tally);
        }
        Ok(())
    }

    fn either(&self, contents: Contents, pages: &Range<usize>, done: &mut Done) -> Result<()> {
        for number in self.inside(pages)? {
            let expected = contents.page(number);
            let mut found = self.region.load(number);
            if found != expected {
                // It may have gone in the middle of the first look, and stays
                // gone.
                found = self.region.load(number);
                done.zero_pages += 1;
                Contents::Zero.check(number, &found, &mut done.tally);
            } else {
                contents.check(number, &found, &mut done.tally);
            }
        }
        Ok(())
    }

    fn cut(
        &self,
        contents: Contents,
        page: usize,
        bytes: &Range<usize>,
        done: &mut Done,
    ) -> Result<()> {
        ensure!(
            bytes.end <= PAGE && page < self.region.pages(),
            "no such bytes"
        );
        let mut expected = contents.page(page);
        for (index, word) in expected.iter_mut().enumerate() {
            let mut left = word.to_ne_bytes();
            for (byte, left) in left.iter_mut().enumerate() {
                if bytes.contains(&(index * 8 + byte)) {
                    *left = 0;
                }
            }
            *word = u64::from_ne_bytes(left);
        }
        let found = self.region.load(page);
        done.tally.compare(page as u64, &found, expected);
        Ok(())
    }

    fn places(&self, pages: &Range<usize>, done: &mut Done) -> Result<()> {
        let pages = self.inside(pages)?;
        let resident = self.region.resident().context("mincore")?;
        let start = self.region.address() + pages.start * PAGE;
        let places = places(start, pages.len()).context("read pagemap")?;
        for (resident, place) in resident[pages].iter().zip(places) {
            done.resident += u64::from(*resident);
            let swapped = matches!(place, Place::Swap { .. }) && !resident;
            done.swapped += u64::from(swapped);
        }
        Ok(())
    }

    /// The range, if the memory has it.
    fn inside(&self, pages: &Range<usize>) -> Result<Range<usize>> {
        let there = self.region.pages();
        let inside = pages.start <= pages.end && pages.end <= there;
        ensure!(inside, "pages {pages:?} of {there}");
        Ok(pages.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Kind;

    fn perform(performer: &mut Performer, line: &str) -> Done {
        let steps = Step::parse_all(line).expect("steps");
        performer.perform(&steps).expect("done")
    }

    fn performer() -> Performer {
        Performer::new(Region::map(Kind::Shared, 16).expect("mapping"))
    }

    #[test]
    fn what_is_written_is_found_and_nothing_else() {
        let mut performer = performer();
        let right = "fill 1 0..8; check 1 0..8; rewrite 1 2 4..8; read 2 4..8; check zero 8..16";
        let done = perform(&mut performer, right);
        assert_eq!(done.tally.bytes_verified, 24 << 12);
        assert_eq!(done.tally.corrupt_bytes, 0);
        let wrong = perform(
            &mut performer,
            "check 1 4..5; check zero 0..1; either 1 4..5",
        );
        assert!(wrong.tally.corrupt_bytes > 12_000, "{wrong:?}");
    }

    #[test]
    fn a_page_may_be_there_or_gone() {
        let mut performer = performer();
        let done = perform(&mut performer, "write 1 0..4; either 1 0..16");
        assert_eq!((done.zero_pages, done.tally.corrupt_bytes), (12, 0));
    }

    #[test]
    fn a_page_is_zero_where_it_was_cut() {
        let mut performer = performer();
        let holes = "fill 1 0..4; punch 4099..4103; truncate 12289; truncate 65536";
        let done = perform(&mut performer, holes);
        assert_eq!(done.tally.bytes_verified, 0);
        let done = perform(&mut performer, "cut 1 1 3..7; cut 1 3 1..4096; allocated");
        assert_eq!((done.tally.corrupt_bytes, done.allocated), (0, 4));
        let done = perform(&mut performer, "cut 1 1 3..8; cut 1 1 3..6");
        assert_eq!(done.tally.corrupt_bytes, 2);
    }

    #[test]
    fn what_is_not_there_is_no_page() {
        let mut performer = performer();
        for line in [
            "check 1 0..17",
            "protect 0..1",
            "truncate 65537",
            "cut 1 16 0..1",
        ] {
            let steps = Step::parse_all(line).expect("steps");
            assert!(performer.perform(&steps).is_err(), "{line}");
        }
    }

    #[test]
    fn touched_pages_are_in_memory() {
        let done = perform(&mut performer(), "fill 1 0..3; settle; places 0..3");
        assert_eq!((done.resident, done.swapped), (3, 0));
    }
}
