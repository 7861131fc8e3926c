//! Tests on two nodes joined by an RDMA link.

mod accelerator;
mod bad_input;
mod bad_peers;
mod batches;
mod bringing_up;
mod commands;
mod counters;
mod debugging;
mod ends;
mod exec;
mod faults;
mod kernel_faults;
mod leftovers;
mod lifecycle;
mod local_drops;
mod new_groups;
mod other_programs;
mod parity;
mod patterns;
mod pauses;
mod ram_backend;
mod saved_states;
mod servers;
mod siw;
mod splats;
mod without_remote;
