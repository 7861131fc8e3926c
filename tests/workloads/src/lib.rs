//! Programs which run in a node, under a memory limit, and check every byte
//! of what they hold: `page-pattern`, `redis-check` and `bench-job`. They are linked
//! statically, so that they run in any guest, and kept apart from the tests'
//! host side, so that they need none of its libraries.

mod crlf;
pub mod jobs;
pub mod memcached;
pub mod memory;
pub mod pagemap;
pub mod pattern;
pub mod percentiles;
pub mod resp;
pub mod shuffle;
pub mod steps;
pub mod writeback;
