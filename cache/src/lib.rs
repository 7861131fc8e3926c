//! The cache that all checkouts of one user share: where it is, what things in
//! it are called, and how they come there whole.

#![forbid(unsafe_code)]

mod error;
mod key;
mod root;
mod space;
mod unfinished;

pub use error::{Error, Result};
pub use key::Key;
pub use root::root;
pub use space::{ELSEWHERE, require_space};
pub use unfinished::{UNFINISHED, finish, unfinished};
