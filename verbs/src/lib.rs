//! The parts of rdma-core that Rapidswap uses, one safe type for each C object.
//!
//! All unsafe code of the memory server and of the link proof lives in this
//! crate, and every type keeps alive what it depends on:
//!
//! ```text
//! EventChannel <- Id <- Domain <- Region (-> Memory)
//!                  ^      ^  ^--- CompletionQueue
//!                  |      |          ^
//!                  +---- Connection -+
//! ```
//!
//! So memory is unmapped only after it was deregistered, a protection domain
//! goes after the regions and queue pairs in it, and the last connection
//! identifier of a device after its domains (librdmacm closes the device with
//! it). What cannot be taken back is leaked, never left to the adapter to write
//! into.

mod address;
mod channel;
mod connection;
mod device;
mod domain;
mod error;
mod id;
mod memory;
mod queue;

pub use channel::{Event, EventChannel, EventKind};
pub use connection::{ConnectParams, Connection, Remote, dial};
pub use device::{Device, DeviceAttributes, PortAttributes, devices};
pub use domain::{Access, Domain, Region};
pub use error::{Error, Result};
pub use id::{Id, Key};
pub use memory::{Memory, memlock_limit};
pub use queue::{Completion, CompletionQueue};
