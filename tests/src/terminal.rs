//! The program on a terminal, as somebody has it who sits there.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};

use crate::rapidswap::program;
use crate::scene::scaled;

/// How long an answer to what was typed may take.
const ANSWER: Duration = Duration::from_secs(20);

/// A terminal with the program `rapidswap` on it. Dropped, that is killed.
pub struct Terminal {
    keys: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
    device: PathBuf,
    program: Child,
}

impl Terminal {
    /// Starts the program as the leader of a terminal of this size.
    pub fn start(arguments: &[&str], (rows, cols): (u16, u16)) -> Result<Terminal> {
        let size = Winsize {
            ws_row: rows,
            ws_col: cols,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&size), None)?;
        let (keys, slave) = (File::from(pty.master), pty.slave);
        let device = fs::read_link(format!("/proc/self/fd/{}", slave.as_raw_fd()))?;
        let program = Command::new("setsid")
            .arg("--ctty")
            .arg(program())
            .args(arguments)
            .env("TERM", "dumb")
            .stdin(slave.try_clone()?)
            .stdout(slave.try_clone()?)
            .stderr(slave)
            .spawn()?;
        let (mut output, (sender, screen)) = (keys.try_clone()?, channel());
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // An error when nobody has the terminal any more.
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Terminal {
            keys,
            screen,
            seen: String::new(),
            device,
            program,
        })
    }

    /// Waits until the screen has shown a text since the last one waited for.
    pub fn shows(&mut self, text: &str) -> Result<()> {
        let until = Instant::now() + scaled(ANSWER)?;
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return Ok(());
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => bail!("`{text}` is not to be seen, but {:?}", self.seen),
            }
        }
    }

    /// All that the screen has shown since, once nobody writes to it any more.
    pub fn rest(&mut self) -> String {
        let mut rest = std::mem::take(&mut self.seen);
        while let Ok(bytes) = self.screen.recv() {
            rest.push_str(&String::from_utf8_lossy(&bytes));
        }
        rest
    }

    /// Types these keys.
    pub fn type_in(&mut self, keys: &[u8]) -> Result<()> {
        Ok(self.keys.write_all(keys)?)
    }

    /// As a window that somebody pulls at.
    pub fn resize(&self, rows: u16, cols: u16) -> Result<()> {
        let size = [("rows", rows), ("cols", cols)];
        let size = size.map(|(name, count)| [name.to_owned(), count.to_string()]);
        let status = Command::new("stty")
            .arg("-F")
            .arg(&self.device)
            .args(size.concat())
            .status()?;
        ensure!(status.success(), "stty: {status}");
        Ok(())
    }

    /// Whether the terminal itself shows what is typed, and waits for lines.
    pub fn is_cooked(&self) -> Result<bool> {
        let flags = tcgetattr(&self.keys)?.local_flags;
        Ok(flags.contains(LocalFlags::ECHO | LocalFlags::ICANON))
    }

    /// The exit status.
    pub fn end(&mut self) -> Result<Option<i32>> {
        Ok(self.program.wait()?.code())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
