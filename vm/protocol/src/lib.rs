//! The protocol between the host and the agent in each node.
//!
//! It runs over any stream of bytes: a virtio-serial port, the pipes of an
//! `ssh`, a socket. [`Agent`] is the host's side of it; the agent itself uses
//! [`frame`] and [`message`].
//!
//! Both sides keep three rules, which together exclude a deadlock:
//!
//! 1. Each side has one thread that reads the stream, and nothing it does
//!    waits for the other side.
//! 2. Bytes of a command or file are sent only against credit, so a reader
//!    that is slow stops its own stream and no other.
//! 3. A frame is written whole, by one writer at a time.

mod agent;
mod channel;
mod crc;
mod error;
mod exec;
pub mod frame;
pub mod message;
mod process;
mod watched;

pub use agent::Agent;
pub use error::Error;
pub use exec::{Exec, ExitStatus, Output, WindowSize};
pub use process::{Handle, Process, Stdin, Stream};
