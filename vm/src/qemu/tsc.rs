//! The rate of this host's time stamp counter, which is what a translated
//! guest's counter runs at. A guest finds it out by timers that QEMU fires from
//! another thread, and a host that is busy at that moment gives it a clock
//! that is wrong by any factor.

use std::time::{Duration, Instant};

use crate::sys;

/// Long enough that how far apart the readings are is nothing beside it.
const WINDOW: Duration = Duration::from_millis(5);

/// How close readings of both clocks have to be.
const NEAR: Duration = Duration::from_micros(1);

/// A reading is tried again this often; on a busy host most are near.
const TRIES: u32 = 100;

/// In kHz, rounded to whole MHz; nothing where there is no such counter. The
/// guest refines it by itself, from any value that is wrong by less than 1 %.
pub(crate) fn khz() -> Option<u32> {
    let (first_time, first_count) = both()?;
    std::thread::sleep(WINDOW);
    let (last_time, last_count) = both()?;
    let micros = last_time.duration_since(first_time).as_nanos() / 1000;
    let mhz = (u128::from(last_count.checked_sub(first_count)?) + micros / 2) / micros;
    u32::try_from(mhz * 1000).ok().filter(|khz| *khz > 0)
}

/// The time and the counter, read with nothing between them.
fn both() -> Option<(Instant, u64)> {
    (0..TRIES).find_map(|_| {
        let before = Instant::now();
        let count = sys::time_stamp_counter()?;
        (before.elapsed() < NEAR).then_some((before, count))
    })
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_as_fast_as_it_was_measured() {
        let khz = u64::from(khz().expect("a counter"));
        let (time, count) = both().expect("a counter");
        std::thread::sleep(20 * WINDOW);
        let (later, counted) = both().expect("a counter");
        let expected = u64::try_from(later.duration_since(time).as_micros()).unwrap() * khz / 1000;
        let deviation = expected.abs_diff(counted - count);
        assert!(
            deviation < expected / 200,
            "{khz} kHz, {deviation} of {expected}"
        );
    }
}
