//! Tests that take virtual machines, for what they do to them from outside or
//! because of what this kernel and cache have: profiles of hosts leave them out.

mod answers;
mod debugging;
mod declines;
mod faults;
mod files;
mod held_links;
pub(crate) mod pauses;
mod timeouts;
