//! Requests to a server at a fixed rate, whose values are checked.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::store::{Program, Store};
use super::{Done, digest};
use crate::pattern::{PAGE, Pattern, WORDS};
use crate::percentiles::Percentiles;
use crate::shuffle::Random;

/// Of a value. What a server keeps beside it still fits into the page.
const LENGTH: usize = PAGE - 16;

/// One in so many stores a value, the others read one.
const WRITES: u32 = 10;

const SEED: u64 = 1;

/// Requests at a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requests {
    /// To what.
    pub program: Program,
    /// In a second.
    pub rate: u32,
    /// In all.
    pub count: u32,
}

impl Requests {
    /// Fills a server with values of `mib` MiB, and then times requests for
    /// random ones: each from when it is due, be it sent then or, since the
    /// one before took long, later.
    pub fn run(self, mib: u32) -> Result<(Done, Option<Percentiles>)> {
        let mut store = Store::start(self.program, mib)?;
        let values = mib * ((1 << 20) / PAGE as u32);
        for number in 0..values {
            store.set(&key(number), &value(number))?;
        }
        let mut random = Random::new(SEED);
        let mut times = Vec::with_capacity(self.count as usize);
        let mut wrong = 0;
        let mut asked = Vec::with_capacity(self.count as usize);
        let start = Instant::now();
        for request in 0..self.count {
            let number = random.below(values);
            let expected = value(number);
            let due = start + due_after(request, self.rate);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if request % WRITES == 0 {
                store.set(&key(number), &expected)?;
                times.push(due.elapsed().as_nanos() as u64);
            } else {
                let found = store.get(&key(number))?;
                times.push(due.elapsed().as_nanos() as u64);
                wrong += u64::from(found != Some(expected));
            }
            asked.push(u64::from(number));
        }
        let done = Done {
            checksum: digest(asked),
            wrong,
        };
        Ok((done, Percentiles::of(times)))
    }
}

/// When a request is due, after the first.
fn due_after(request: u32, rate: u32) -> Duration {
    Duration::from_nanos(u64::from(request) * 1_000_000_000 / u64::from(rate))
}

fn key(number: u32) -> String {
    format!("page:{number}")
}

fn value(number: u32) -> Vec<u8> {
    let mut words = [0; WORDS];
    Pattern::new(SEED).fill(u64::from(number), &mut words);
    let bytes = words.iter().flat_map(|word| word.to_ne_bytes());
    bytes.take(LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_their_rate() {
        assert_eq!(due_after(0, 250), Duration::ZERO);
        assert_eq!(due_after(1, 250), Duration::from_millis(4));
        assert_eq!(
            due_after(u32::MAX, 1),
            Duration::from_secs(u64::from(u32::MAX))
        );
    }

    #[test]
    fn values_differ_and_leave_room_in_their_page() {
        assert_eq!(value(0).len(), 4080);
        assert_ne!(value(0), value(1));
    }
}
