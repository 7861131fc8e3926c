// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! What the kernel module and the memory server agree on, and what the module
//! decides: wire format, slot arithmetic, the life of a session, what is under
//! way on a queue pair and what waits for its turn, sizes, how long things took.
//!
//! Every file here is compiled twice: by the host's cargo, where it is tested,
//! and as part of `remoteswap.ko`, which includes the files as modules of its
//! own. So they use `core` only, refer to each other by `super::`, keep to the
//! 2021 edition's syntax, never allocate, never panic, and hold no unsafe code.

#![no_std]
#![forbid(unsafe_code)]

pub mod backlog;
pub mod bitmap;
pub mod credits;
pub mod fifo;
pub mod histogram;
pub mod send_queue;
pub mod session;
pub mod size;
pub mod slots;
pub mod wire;

#[cfg(test)]
extern crate std;
