//! Page touch: every page is checked and written again, in some order.

use std::thread;

use anyhow::{Context, Result};

use super::{Done, bytes, digest};
use crate::memory::{Kind, Region};
use crate::pattern::{PAGE, Pattern, Tally};
use crate::shuffle::shuffled;

/// Touches memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// Whether each pass takes the pages in a shuffled order.
    pub random: bool,
    /// How often every page is checked and written again.
    pub passes: u32,
    /// Threads, each with an equal part of the memory.
    pub threads: u32,
}

impl Touch {
    /// Touches `mib` MiB.
    pub fn run(self, mib: u32) -> Result<Done> {
        let pages = bytes(mib) / PAGE / self.threads as usize;
        let tallies: Result<Vec<Tally>> = thread::scope(|scope| {
            let parts = (0..self.threads).map(|part| scope.spawn(move || self.part(part, pages)));
            let parts: Vec<_> = parts.collect();
            let ended = parts.into_iter().map(|part| part.join());
            ended
                .map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let tallies = tallies?;
        Ok(Done {
            checksum: digest(tallies.iter().map(|tally| tally.bytes_verified)),
            wrong: tallies.iter().map(|tally| tally.corrupt_bytes).sum(),
        })
    }

    fn part(self, part: u32, pages: usize) -> Result<Tally> {
        let seed = |pass: u32| Pattern::new((u64::from(part) << 32) | u64::from(pass));
        let mut region = Region::map(Kind::Anonymous, pages).context("map memory")?;
        for page in 0..pages {
            seed(0).fill(page as u64, region.page_mut(page));
        }
        let mut tally = Tally::default();
        for pass in 0..self.passes {
            let order = match self.random {
                true => shuffled(pages as u32, u64::from(pass)),
                false => (0..pages as u32).collect(),
            };
            for page in order.into_iter().map(|page| page as usize) {
                seed(pass).verify(page as u64, region.page(page), &mut tally);
                seed(pass + 1).fill(page as u64, region.page_mut(page));
            }
        }
        Ok(tally)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_checked_in_each_pass_by_any_number_of_threads() {
        for random in [false, true] {
            for threads in [1, 4] {
                let touch = Touch {
                    random,
                    passes: 2,
                    threads,
                };
                let each = (2 << 20) * 2 / u64::from(threads);
                let expected = Done {
                    checksum: digest(vec![each; threads as usize]),
                    wrong: 0,
                };
                assert_eq!(touch.run(2).expect("memory"), expected, "{touch:?}");
            }
        }
    }
}
