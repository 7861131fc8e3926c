//! The end of a node.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, sync};

use crate::mounts::PAYLOAD;
use crate::sys;

/// Time that processes have to end when asked to, and again when forced to: a
/// process that waits for a lost device ends never.
const PATIENCE: Duration = Duration::from_millis(500);

/// Ends all processes and powers the machine off. Returns only if that fails.
pub(crate) fn power_off() -> io::Error {
    static ONCE: Mutex<()> = Mutex::new(());
    let _only = ONCE.lock().unwrap_or_else(PoisonError::into_inner);
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        // Everybody but this process; there may be nobody.
        let _ = kill(Pid::from_raw(-1), signal);
        if all_ended_within(PATIENCE) {
            break;
        }
    }
    sync();
    // What cannot be unmounted has been synced.
    let _ = umount2(PAYLOAD.target, MntFlags::MNT_DETACH);
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    let none = None::<&str>;
    let _ = mount(none, "/", none, read_only, none);
    match reboot(RebootMode::RB_POWER_OFF) {
        Ok(never) => match never {},
        Err(errno) => errno.into(),
    }
}

/// Powers the machine off when a process in it says so. A thread of its own,
/// since the one that serves may wait for a host that is not there.
pub(crate) fn obey_signals(signals: &[Signal], stack: usize) -> io::Result<()> {
    let mut set = SigSet::empty();
    for signal in signals {
        set.add(*signal);
    }
    thread::Builder::new()
        .name("signals".into())
        .stack_size(stack)
        .spawn(move || {
            while set.wait().is_err() {}
            let error = power_off();
            eprintln!("rapidswap-agent: cannot power off: {error}");
        })?;
    Ok(())
}

fn all_ended_within(limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        while sys::reap_child().is_some() {}
        if !sys::has_children() {
            return true;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        sys::await_child_signal(left);
    }
}
