//! Commands as somebody at a terminal has them, or a script: keys, sizes,
//! signals, input.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;
use rapidswap_tests::rapidswap;
use rapidswap_tests::scene::on_cluster;

/// How long an answer to what was typed may take.
const ANSWER: Duration = Duration::from_secs(20);

/// A terminal with the program on it.
struct Terminal {
    keys: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
    device: PathBuf,
    program: Child,
}

impl Terminal {
    /// Starts the program as the leader of a terminal of this size.
    fn start(arguments: &[&str], (rows, cols): (u16, u16)) -> Result<Terminal> {
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
            .arg(rapidswap::program())
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
    fn shows(&mut self, text: &str) -> Result<()> {
        let until = Instant::now() + ANSWER;
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

    fn type_in(&mut self, keys: &[u8]) -> Result<()> {
        Ok(self.keys.write_all(keys)?)
    }

    /// As a window that somebody pulls at.
    fn resize(&self, rows: u16, cols: u16) -> Result<()> {
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
    fn is_cooked(&self) -> Result<bool> {
        let flags = tcgetattr(&self.keys)?.local_flags;
        Ok(flags.contains(LocalFlags::ECHO | LocalFlags::ICANON))
    }

    /// The exit status.
    fn end(&mut self) -> Result<Option<i32>> {
        Ok(self.program.wait()?.code())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

#[test]
fn a_command_on_a_terminal_has_its_size_and_its_keys() -> Result<()> {
    on_cluster(|scene| {
        let exec = ["--name", scene.cluster.name(), "exec", "-t", "client", "--"];
        let script = "trap 'stty size' WINCH; stty size; while :; do sleep 0.1; done";
        let command = [&exec[..], &["sh", "-c", script]].concat();
        let mut terminal = Terminal::start(&command, (33, 101))?;
        terminal.shows("33 101")?;
        ensure!(!terminal.is_cooked()?, "keys are taken on the way");
        terminal.resize(44, 202)?;
        terminal.shows("44 202")?;
        terminal.type_in(b"\x03")?;
        ensure!(terminal.end()? == Some(128 + Signal::SIGINT as i32));
        ensure!(terminal.is_cooked()?, "the terminal is left as it was used");
        Ok(())
    })
}

#[test]
fn a_shell_is_one_on_a_terminal() -> Result<()> {
    on_cluster(|scene| {
        let shell = ["--name", scene.cluster.name(), "shell", "server"];
        let mut terminal = Terminal::start(&shell, (24, 80))?;
        // What is typed is seen as well: what is looked for is not typed.
        terminal.type_in(b"tty -s && echo it is $((6 * 7)) on $(hostname)\n")?;
        terminal.shows("it is 42 on server")?;
        terminal.type_in(b"exit 7\n")?;
        ensure!(terminal.end()? == Some(7));
        ensure!(terminal.is_cooked()?, "the terminal is left as it was used");
        Ok(())
    })
}

#[test]
fn signals_reach_the_command() -> Result<()> {
    on_cluster(|scene| {
        let exec = ["--name", scene.cluster.name(), "exec", "client", "--"];
        let script = "trap 'echo INT; exit 3' INT; trap 'echo TERM; exit 4' TERM
            echo on; while :; do sleep 0.1; done";
        for (signal, says, code) in [(Signal::SIGINT, "INT\n", 3), (Signal::SIGTERM, "TERM\n", 4)] {
            let mut program = rapidswap::command(&exec)
                .args(["sh", "-c", script])
                .stdout(Stdio::piped())
                .spawn()?;
            let mut output = BufReader::new(program.stdout.take().context("piped")?);
            let mut line = String::new();
            output.read_line(&mut line)?;
            ensure!(line == "on\n", "{line}");
            kill(Pid::from_raw(program.id().try_into()?), signal)?;
            let (mut rest, ended) = (String::new(), program.wait()?);
            output.read_to_string(&mut rest)?;
            ensure!(ended.code() == Some(code), "{signal}: {ended}, {rest}");
            ensure!(rest == says, "{signal}: {rest}");
        }
        Ok(())
    })
}

#[test]
fn what_is_piped_in_comes_out_whole_and_ends() -> Result<()> {
    on_cluster(|scene| {
        let exec = ["--name", scene.cluster.name(), "exec", "client", "--"];
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| ((n * 7) >> 3) as u8).collect();
        let mut program = rapidswap::command(&exec)
            .args(["sh", "-c", "cat; cat >&2; exit 9"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (mut stdin, input) = (program.stdin.take().context("piped")?, bytes.clone());
        let feeds = thread::spawn(move || stdin.write_all(&input));
        let output = program.wait_with_output()?;
        feeds.join().ok().context("a thread")??;
        ensure!(output.status.code() == Some(9), "{:?}", output.status);
        ensure!(output.stdout == bytes, "{} bytes", output.stdout.len());
        ensure!(output.stderr.is_empty(), "{:?}", output.stderr);
        Ok(())
    })
}
