//! What Rapidswap's integration tests, demonstration and benchmarks share:
//! parsers of what programs in a node print, and waiting.

#![forbid(unsafe_code)]

pub mod median;
pub mod perftest;
pub mod processes;
pub mod table;
pub mod time_v;
pub mod vmstat;
pub mod wait;
