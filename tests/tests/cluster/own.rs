//! Tests with clusters of their own: another kind than the shared one, or one
//! that they may ruin. They run beside those of the shared cluster
//! (`.config/nextest.toml`), and no other test here may bring one up
//! (`rapidswap_tests::scene::options`).

mod accelerator;
mod bringing_up;
mod cgroup_v2;
mod clocks;
mod ends;
mod faults;
mod kernel_faults;
mod leftovers;
mod saved_states;
mod servers;
mod siw;
mod splats;
mod status;
mod two_cpus;
