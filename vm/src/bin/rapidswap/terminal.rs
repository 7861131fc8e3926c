//! The user's terminal.

use std::io;
use std::os::fd::AsFd;

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use rapidswap_vm::{WindowSize, window_size};

/// The size of the terminal, or a usual one where there is none.
pub fn size() -> WindowSize {
    let stdin = window_size(io::stdin().as_fd());
    let size = stdin.or_else(|| window_size(io::stdout().as_fd()));
    size.unwrap_or(WindowSize { rows: 24, cols: 80 })
}

/// Passes keys on untouched until dropped.
pub struct Raw(Termios);

impl Raw {
    /// Nothing if standard input is no terminal.
    pub fn enter() -> Option<Raw> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw).ok()?;
        Some(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.0);
    }
}
