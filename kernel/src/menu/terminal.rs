//! Running a program that talks to the user.

use nix::sys::signal::{SigSet, Signal};
use std::io::{IsTerminal, stderr, stdin};
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use crate::error::{Error, Result};
use crate::guarded::Guarded;

/// What such a program may know of its user beyond what a build may.
const ENVIRONMENT: [&str; 10] = [
    "TERM",
    "TERMINFO",
    "COLORTERM",
    "ESCDELAY",
    "DISPLAY",
    "XAUTHORITY",
    "WAYLAND_DISPLAY",
    "MENUCONFIG_COLOR",
    "MENUCONFIG_MODE",
    "NCONFIG_MODE",
];

/// Whether there is somebody to draw a menu for.
pub(crate) fn is_there() -> bool {
    stdin().is_terminal() && stderr().is_terminal()
}

/// Runs a command with the user's terminal. All that it says goes to stderr:
/// stdout belongs to results.
pub(crate) fn run(command: &Guarded, dir: &Path) -> Result<ExitStatus> {
    // Ctrl-C is for the program, which may ask whether to save. Here it waits
    // until the program has ended, and then ends us before anything is written.
    let mut held = SigSet::empty();
    held.add(Signal::SIGINT);
    held.add(Signal::SIGQUIT);
    let fail = |errno: nix::errno::Errno| Error::file("hold", "signals")(errno.into());
    held.thread_block().map_err(fail)?;
    let status = command
        .command(&[])
        .envs(ENVIRONMENT.iter().filter_map(|name| {
            let value = std::env::var_os(name)?;
            Some((*name, value))
        }))
        .current_dir(dir)
        .stdin(Stdio::inherit())
        .stdout(stderr())
        .stderr(Stdio::inherit())
        .status()
        .map_err(Error::file("run", "make"));
    held.thread_unblock().map_err(fail)?;
    status
}
