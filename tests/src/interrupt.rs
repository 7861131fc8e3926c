//! An interrupted demonstration or benchmark takes its cluster with it.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use rapidswap_vm::{Cluster, abandon};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on an interrupt ends the cluster `name`, whether it runs or is on
/// its way up, and then this process. To be called before any thread starts.
pub fn take_down(name: &str) -> nix::Result<()> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    signals.thread_block()?;
    let name = name.to_owned();
    thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            INTERRUPTED.store(true, Ordering::SeqCst);
            abandon();
            let down = match Cluster::attach(&name) {
                Ok(cluster) => cluster.down(),
                Err(_) => Ok(()),
            };
            match down {
                Ok(()) => eprintln!("interrupted, nothing is left running"),
                Err(error) => eprintln!("interrupted, and the cluster is still up: {error}"),
            }
            process::exit(128 + signal as i32);
        }
    });
    Ok(())
}

/// What fails because of an interrupt is not reported, nor is anything kept of
/// it: once there was one this does not return, and the process ends when the
/// cluster is down.
pub fn heed() {
    while INTERRUPTED.load(Ordering::SeqCst) {
        thread::park();
    }
}
