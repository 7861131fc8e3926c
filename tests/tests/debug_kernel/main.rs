//! What takes the debug kernel: a program of its own, so that
//! `.config/nextest.toml` can say by its name that it belongs to that kernel and
//! to no other.

mod allocations;
mod kinds;
