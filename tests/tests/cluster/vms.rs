//! Tests on the shared cluster that do to its nodes from outside what takes a
//! QEMU: profiles of hosts leave them out.

mod answers;
mod debugging;
mod faults;
pub(crate) mod pauses;
