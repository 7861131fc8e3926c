//! What goes on a send queue and comes back from it.

mod adapter;
mod batches;
mod credits;
mod traffic;
