//! Quicksort of random numbers in place: the standard library's unstable sort.

use super::{Done, bytes, digest};
use crate::pattern::mix;

/// Sorts `mib` MiB of numbers.
pub fn run(mib: u32) -> Done {
    let count = bytes(mib) / size_of::<u64>();
    let mut numbers: Vec<u64> = (0..count as u64).map(mix).collect();
    let before = sum(&numbers);
    numbers.sort_unstable();
    check(&numbers, before)
}

/// What must be as before, in whatever order.
fn sum(numbers: &[u64]) -> (u64, u64) {
    numbers.iter().fold((0, 0), |(sum, xor), &number| {
        (number.wrapping_add(sum), number ^ xor)
    })
}

fn check(numbers: &[u64], before: (u64, u64)) -> Done {
    let descents = numbers.windows(2).filter(|pair| pair[0] > pair[1]).count();
    let lost = u64::from(sum(numbers) != before);
    Done {
        checksum: digest(numbers.iter().copied()),
        wrong: descents as u64 + lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_sorted_the_same_each_time() {
        let done = run(1);
        assert_eq!(done.wrong, 0);
        assert_eq!(done, run(1));
    }

    #[test]
    fn a_bit_that_changed_or_an_order_that_is_none_shows() {
        let right = [1, 2, 3];
        assert_eq!(check(&right, sum(&right)).wrong, 0);
        assert_eq!(check(&[1, 2, 7], sum(&right)).wrong, 1);
        assert_eq!(check(&[2, 1, 3], sum(&right)).wrong, 1);
        let checksums = [[1, 2, 3], [1, 2, 7], [2, 1, 3]].map(|n| check(&n, (0, 0)).checksum);
        assert!(checksums[0] != checksums[1] && checksums[0] != checksums[2]);
    }
}
