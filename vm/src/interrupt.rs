//! An interrupted program takes its cluster with it.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::anyhow;
use nix::sys::signal::{SigSet, Signal};
use rapidswap_cli::say;
use rapidswap_progress::Reporter;

use crate::cluster::Cluster;
use crate::cluster::lease::abandon;
use crate::outcome::ended;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on an interrupt ends what this process is bringing up, and the
/// cluster `name` if it is up, waits until they are gone, says so as `program`,
/// and then ends the process. To be called before any thread starts.
pub fn take_down(
    program: &'static str,
    name: Option<String>,
    reporter: &Reporter,
) -> nix::Result<()> {
    let reporter = reporter.clone();
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    signals.thread_block()?;
    thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            INTERRUPTED.store(true, Ordering::SeqCst);
            abandon();
            let cluster = name.and_then(|name| Cluster::attach(&name).ok());
            let left = match cluster.map_or(Ok(()), Cluster::down) {
                Ok(()) => "nothing is left running".to_owned(),
                Err(error) => format!("and the cluster is still up: {error}"),
            };
            let code = 128 + signal as u8;
            let why = anyhow!("interrupted, {left}");
            ended(&reporter, code, Some(&why));
            if !reporter.is_json() {
                say(format_args!("{program}: {why}"));
            }
            process::exit(code.into());
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
