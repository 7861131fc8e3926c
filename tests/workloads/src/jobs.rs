//! Jobs whose time under a memory limit is measured. Each makes its own data,
//! works on it, checks all of it, and comes to the same checksum every time.

pub mod compress;
pub mod kmeans;
pub mod pagerank;
pub mod requests;
pub mod sort;
pub mod store;
pub mod touch;

use std::num::Wrapping;

use crate::pattern::mix;

/// What a job found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// The same for the same job on the same data, and another one if a bit of
    /// the result differs.
    pub checksum: u64,
    /// Places in which its data was not what it must have been.
    pub wrong: u64,
}

/// Bytes of `mib` MiB.
fn bytes(mib: u32) -> usize {
    (mib as usize) << 20
}

/// One number of many, in their order.
fn digest(numbers: impl IntoIterator<Item = u64>) -> u64 {
    numbers.into_iter().fold(0, |sum, number| {
        mix((Wrapping(sum) + Wrapping(number) + Wrapping(0x9e37_79b9_7f4a_7c15)).0)
    })
}
