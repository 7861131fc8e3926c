// SPDX-License-Identifier: GPL-2.0-only

//! Why there is no session, in words.
//!
//! Takes no lock, allocates nothing.

use crate::logic::slots::LayoutError;
use crate::logic::wire::{Rej, WireError, VERSION};
use crate::verbs::operation::Outcome;
use core::fmt;
use kernel::prelude::*;

/// The reason an attempt or a session failed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Complaint {
    /// The module is on its way out.
    Cancelled,
    /// No answer in time.
    Silence(&'static str),
    /// No address, or no path to it.
    NoWay(i32),
    /// The connection manager gave up.
    Lost(&'static str, i32),
    /// Nobody there who would take us.
    Rejected(&'static str),
    /// The server turned us away.
    Refused(Rej),
    /// What answered is not a server of ours.
    Wire(WireError),
    /// Its sizes do not fit together.
    Layout(LayoutError),
    /// It offers more than we can address.
    TooManyChunks(u32),
    /// It will not let us READ.
    NoReads,
    /// Its chunk table is not that of this session.
    WrongTable,
    /// The two queue pairs were given different memory.
    TwoLeases,
    /// This machine failed us.
    Verbs(&'static str, Error),
    /// An operation failed.
    Failed(&'static str, Outcome),
    /// An operation takes too long.
    Overdue(&'static str),
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Complaint::Cancelled => f.write_str("the module is being unloaded"),
            Complaint::Silence(what) => write!(f, "no answer to the {what} in time"),
            Complaint::NoWay(status) if status == ENOMEM.to_errno() => {
                f.write_str("no memory to look for a way to it")
            }
            Complaint::NoWay(status) => {
                write!(f, "no RDMA device of this machine reaches it (error {status})")
            }
            Complaint::Lost(name, 0) => f.write_str(name),
            Complaint::Lost(name, status) => write!(f, "{name} ({status})"),
            Complaint::Rejected(message) => write!(f, "connection rejected ({message})"),
            Complaint::Refused(rej) if rej.version != VERSION => write!(
                f,
                "peer speaks version {}, this module {VERSION}: use module and server of one release",
                rej.version
            ),
            Complaint::Refused(rej) => write!(f, "the server says no: {}", rej.reason),
            Complaint::Wire(error) => write!(f, "{error}"),
            Complaint::Layout(error) => write!(f, "the server's offer is no good: {error}"),
            Complaint::TooManyChunks(count) => {
                write!(f, "the server offers {count} chunks: start it with a larger --chunk")
            }
            Complaint::NoReads => f.write_str("the server allows no READs"),
            Complaint::WrongTable => f.write_str("the chunk table is not this session's"),
            Complaint::TwoLeases => f.write_str("the server gave each queue pair another memory"),
            Complaint::Verbs(what, error) => write!(f, "{what}: error {}", error.to_errno()),
            Complaint::Failed(what, outcome) => write!(f, "a {what} failed: {}", outcome.message()),
            Complaint::Overdue(what) => write!(f, "a {what} takes too long"),
        }
    }
}
