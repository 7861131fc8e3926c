//! The real agent, served over a socket and driven by the host's side of the
//! protocol.

mod commands;
mod detached;
mod files;
mod flow;
mod sessions;
mod support;
mod terminals;
