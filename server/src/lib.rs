//! `remoteswap-server`: lends memory to clients that swap to it.
//!
//! One-sided: a client reads and writes its leased memory without this process
//! taking part. What is done here is the handshake, keeping leases, and noticing
//! that clients are gone.

#![forbid(unsafe_code)]

pub mod admission;
pub mod client;
pub mod control;
pub mod daemon;
pub mod lease;
pub mod liveness;
mod member;
pub mod pool;
pub mod server;
pub mod stats;
