//! Does steps.

use std::ops::Range;
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::contents::Contents;
use super::done::Done;
use super::handler::Handler;
use super::{Line, Step};
use crate::memory::{Advice, Common, Region};
use crate::pagemap::{Place, places};
use crate::pattern::{PAGE, WORDS};
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
    pub fn perform(&mut self, line: &Line) -> Result<Done> {
        let mut done = Done::default();
        match &line.0[..] {
            [steps] => {
                for step in steps {
                    self.step(step, &mut done)?;
                }
            }
            parts => done = at_once(self.region.common(), parts)?,
        }
        if let Some(handler) = &self.handler {
            (done.missing, done.protected) = handler.counts();
        }
        Ok(done)
    }

    fn step(&mut self, step: &Step, done: &mut Done) -> Result<()> {
        if common_step(self.region.common(), step, done)? {
            return Ok(());
        }
        match step {
            Step::Cached(contents, pages) => self.cached(*contents, pages, done)?,
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
            Step::Fill(..)
            | Step::Check(..)
            | Step::Rewrite(..)
            | Step::Either(..)
            | Step::Stripe(..)
            | Step::Forked(..) => bail!("not done: {step:?}"),
        }
        Ok(())
    }

    fn cached(&self, contents: Contents, pages: &Range<usize>, done: &mut Done) -> Result<()> {
        // All of them before the first is touched.
        let pages = self.inside(pages)?.zip(self.places_of(pages)?);
        let cached: Vec<usize> = pages
            .filter(|(_, (resident, place))| *resident && in_swap(place))
            .map(|(number, _)| number)
            .collect();
        for number in cached {
            done.cached += 1;
            contents.check(number, &self.region.load(number), &mut done.tally);
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
        for (resident, place) in self.places_of(pages)? {
            done.resident += u64::from(resident);
            done.swapped += u64::from(!resident && in_swap(&place));
            done.cached += u64::from(resident && in_swap(&place));
            if let Place::Swap { slot, .. } = place {
                done.first_slot.get_or_insert(slot);
            }
        }
        Ok(())
    }

    /// Whether each page is in memory, and where it is mapped to.
    fn places_of(&self, pages: &Range<usize>) -> Result<Vec<(bool, Place)>> {
        let pages = self.inside(pages)?;
        let start = self.region.address() + pages.start * PAGE;
        let places = places(start, pages.len()).context("read pagemap")?;
        let resident = self.region.resident().context("mincore")?;
        Ok(resident[pages].iter().copied().zip(places).collect())
    }

    /// The range, if the memory has it.
    fn inside(&self, pages: &Range<usize>) -> Result<Range<usize>> {
        inside(self.region.pages(), pages)
    }
}

fn in_swap(place: &Place) -> bool {
    matches!(place, Place::Swap { .. })
}

fn inside(there: usize, pages: &Range<usize>) -> Result<Range<usize>> {
    let inside = pages.start <= pages.end && pages.end <= there;
    ensure!(inside, "pages {pages:?} of {there}");
    Ok(pages.clone())
}

/// Does the parts of a line, each by a thread of its own.
fn at_once(memory: Common<'_>, parts: &[Vec<Step>]) -> Result<Done> {
    thread::scope(|scope| {
        let part = |steps: &[Step]| -> Result<Done> {
            let mut done = Done::default();
            for step in steps {
                let known = common_step(memory, step, &mut done)?;
                ensure!(known, "not beside other threads: {step:?}");
            }
            Ok(done)
        };
        let threads: Vec<_> = parts
            .iter()
            .map(|steps| scope.spawn(move || part(steps)))
            .collect();
        let mut done = Done::default();
        for thread in threads {
            let part = thread.join().map_err(|_| anyhow!("a thread panicked"))?;
            done.add(part?);
        }
        Ok(done)
    })
}

/// Does a step that may be done beside others; false if it is none.
fn common_step(memory: Common<'_>, step: &Step, done: &mut Done) -> Result<bool> {
    let inside = |pages| inside(memory.pages(), pages);
    match step {
        Step::Fill(contents, pages) => {
            for number in inside(pages)? {
                memory.store(number, &contents.page(number));
            }
        }
        Step::Check(contents, pages) => {
            for number in inside(pages)? {
                contents.check(number, &memory.load(number), &mut done.tally);
            }
        }
        Step::Rewrite(old, new, pages) => {
            for number in inside(pages)? {
                old.check(number, &memory.load(number), &mut done.tally);
                memory.store(number, &new.page(number));
            }
        }
        Step::Either(contents, pages) => {
            for number in inside(pages)? {
                either(memory, *contents, number, done);
            }
        }
        Step::Stripe(own, of, old, new, pages) => {
            for number in inside(pages)? {
                stripe(memory, (*own, *of), (*old, *new), number, done);
            }
        }
        Step::Forked(pattern, pages) => {
            let pages = inside(pages)?;
            let right = memory.child_finds(*pattern, pages.clone());
            ensure!(right.context("fork")?, "a child found other bytes");
            done.tally.bytes_verified += (pages.len() * PAGE) as u64;
        }
        Step::Advise(advice, pages) if *advice != Advice::Free => {
            let advised = memory.advise(inside(pages)?, *advice);
            advised.with_context(|| format!("advice {advice:?}"))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn either(memory: Common<'_>, contents: Contents, number: usize, done: &mut Done) {
    let found = memory.load(number);
    if found == contents.page(number) {
        contents.check(number, &found, &mut done.tally);
        return;
    }
    // It may have gone in the middle of the first look, and stays gone.
    done.zero_pages += 1;
    Contents::Zero.check(number, &memory.load(number), &mut done.tally);
}

fn stripe(
    memory: Common<'_>,
    (own, of): (usize, usize),
    (old, new): (Contents, Contents),
    number: usize,
    done: &mut Done,
) {
    let (old, new) = (old.page(number), new.page(number));
    let words = (own..WORDS).step_by(of);
    let mut found = match own % 2 {
        0 => memory.load(number),
        _ => [0; WORDS],
    };
    for index in words {
        match own % 2 {
            0 => memory.store_word(number, index, new[index]),
            _ => found[index] = memory.swap_word(number, index, new[index]),
        }
        let (found, old) = (found[index], old[index]);
        done.tally.compare_word(number as u64, index, found, old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Kind;

    fn perform(performer: &mut Performer, line: &str) -> Done {
        performer
            .perform(&line.parse().expect("steps"))
            .expect("done")
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
            "stripe 0/2 1 2 0..17",
            "check zero 0..1 | settle",
            "forked 1 0..1",
        ] {
            let line = line.parse().expect("steps");
            assert!(performer.perform(&line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn threads_rewrite_the_same_pages_at_once() {
        let mut performer = performer();
        perform(&mut performer, "fill 1 0..8");
        let part = |own| format!("stripe {own}/3 1 2 0..8; stripe {own}/3 2 3 0..8");
        let line = [part(0), part(1), part(2), "check zero 8..16".into()].join("|");
        let done = perform(&mut performer, &line);
        assert_eq!(done.tally.bytes_verified, 24 << 12);
        let done = perform(&mut performer, "check 3 0..8; forked 3 0..8");
        assert_eq!(done.tally.bytes_verified, 16 << 12);
        assert_eq!(done.tally.corrupt_bytes, 0);
        // A word that is another one is found by whose it is.
        let line = "fill 4 0..1; stripe 1/3 3 4 0..1; stripe 0/3 4 4 0..8";
        let done = perform(&mut performer, line);
        assert!(done.tally.corrupt_bytes > 1000, "{done:?}");
    }

    #[test]
    fn touched_pages_are_in_memory() {
        let done = perform(&mut performer(), "fill 1 0..3; settle; places 0..3");
        assert_eq!((done.resident, done.swapped), (3, 0));
    }
}
