//! What Rapidswap's integration tests, demonstration and benchmarks share:
//! parsers of what programs in a node print, and the arrangements of server,
//! module and swap area that a test begins with.
//!
//! A test sees nodes that run commands. Whether those are VMs is known to
//! [`scene`] alone.

#![forbid(unsafe_code)]

pub mod arrangement;
pub mod failing;
pub mod guest;
pub mod kernel_log;
pub mod kernel_module;
pub mod knobs;
pub mod leaks;
pub mod limit;
pub mod median;
pub mod memory_server;
pub mod perftest;
pub mod posed;
pub mod processes;
pub mod proof;
pub mod provoke;
pub mod ram_disk;
pub mod rapidswap;
pub mod rdma_port;
pub mod remote_module;
pub mod reports;
pub mod scene;
pub mod setting;
pub mod spread;
pub mod steps;
pub mod swap_area;
pub mod table;
pub mod terminal;
pub mod trace;
pub mod turn;
pub mod vcpu_time;
pub mod verdict;
pub mod vmcore;
pub mod vmstat;
pub mod wait;
pub mod watch;

pub use rapidswap_vm::swap::time_v;
