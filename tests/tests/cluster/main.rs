//! Tests on two nodes joined by an RDMA link, which they share. Those in [`own`]
//! bring up nodes of their own, and those in [`vms`] need what only a virtual
//! machine has; all others run on hosts as well.

mod adapter_errors;
mod advice;
mod ahead;
mod bad_input;
mod bad_peers;
mod batches;
mod commands;
mod counters;
mod exec;
mod figures;
mod knobs;
mod ksm;
mod large_faults;
mod large_folios;
mod lifecycle;
mod limits;
mod loads;
mod local_drops;
mod locked;
mod lost;
mod new_groups;
mod offload;
mod other_programs;
mod own;
mod parameters;
mod parity;
mod patterns;
mod ram_backend;
mod sharing;
mod skip_lists;
mod slot_owners;
mod swapoff;
mod terminals;
mod tmpfs;
mod top;
mod userfaults;
mod vms;
mod without_remote;
