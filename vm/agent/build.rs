//! Strips the agent that goes into VMs: its symbols would make the initramfs,
//! which the guest unpacks at each boot, six times as large.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("PROFILE").is_some_and(|profile| profile == "release") {
        println!("cargo::rustc-link-arg-bins=-Wl,--strip-all");
    }
}
