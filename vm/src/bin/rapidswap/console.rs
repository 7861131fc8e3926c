//! `rapidswap console`: a node's serial console, both ways.

use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use rapidswap_cli::say;
use rapidswap_vm::{Exec, ExitStatus, Node};
use serde_json::json;

use crate::terminal::{self, Raw};

/// Ctrl-], as telnet has it; the next key says what is wanted.
const ESCAPE: u8 = 0x1d;

/// How long the node's agent may take to start a shell.
const SHELL: Duration = Duration::from_secs(5);

/// What the shell's starter says when another one has the console.
const TAKEN: i32 = 99;

/// Why a console is left.
enum End {
    /// The user left it.
    Left,
    /// The shell there ended.
    Shell,
    /// The machine is gone.
    Gone,
}

/// Connects this terminal, or these pipes, to the console, and has a shell on
/// it if the node can still start one.
pub fn run(node: &Node) -> anyhow::Result<u8> {
    let stream = node.console_stream()?;
    let (ended, ends) = channel();
    let (shell, started) = channel();
    start_shell(node, ended.clone(), shell);
    let is_terminal = io::stdin().is_terminal();
    if started.recv_timeout(SHELL).is_err() {
        say(format_args!(
            "rapidswap: {} starts no shell: this is its kernel alone",
            node.name()
        ));
    }
    if is_terminal {
        say("rapidswap: leave with Ctrl-] q; Ctrl-] b sends a break, for sysrq");
    }
    let raw = if is_terminal { Raw::enter() } else { None };
    let output = stream.try_clone().context("cannot share the console")?;
    let over = ended.clone();
    let reader = thread::spawn(move || {
        show(output);
        let _ = over.send(End::Gone);
    });
    let (typed, input) = (
        ended,
        stream.try_clone().context("cannot share the console")?,
    );
    let at = node.clone();
    thread::spawn(move || pass_on(&at, input, is_terminal, &typed));
    let end = ends.recv();
    // What the shell said last is on its way.
    if matches!(end, Ok(End::Shell)) {
        let _ = stream.set_read_timeout(Some(Duration::from_millis(300)));
        thread::sleep(Duration::from_millis(300));
    }
    let _ = stream.shutdown(std::net::Shutdown::Both);
    let _ = reader.join();
    drop(raw);
    if is_terminal {
        say("");
    }
    match end {
        Ok(End::Gone) => anyhow::bail!("the console of {} is closed: see `logs {0}`", node.name()),
        _ => Ok(0),
    }
}

/// A shell on the console, unless there is one; says when the console is open
/// and when the shell ends. It has a session of its own, and stays when the
/// console is left.
fn start_shell(node: &Node, ended: Sender<End>, started: Sender<()>) {
    let size = terminal::size();
    let term = std::env::var("TERM").unwrap_or_else(|_| "vt100".into());
    let script = format!(
        "exec 3<>/dev/ttyS0; stty -F /dev/ttyS0 rows {} cols {}; export TERM; echo on
         exec flock --nonblock --conflict-exit-code {TAKEN} /run/console.lock \
             setsid --ctty --wait bash -l <&3 >&3 2>&3",
        size.rows, size.cols
    );
    let exec = Exec::new(["sh", "-c", &script]).env("TERM", term);
    let node = node.clone();
    thread::spawn(move || {
        let Ok(mut process) = node.spawn(exec) else {
            return;
        };
        if process.stdout.read_exact(&mut [0; 3]).is_ok() {
            let _ = started.send(());
        }
        match process.wait() {
            Ok(ExitStatus::Code(TAKEN)) | Err(_) => {}
            Ok(_) => drop(ended.send(End::Shell)),
        }
    });
}

/// Shows what the console says until it is closed.
fn show(mut from: UnixStream) {
    let (mut out, mut buffer) = (io::stdout(), [0; 4096]);
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0
            || out
                .write_all(&buffer[..count])
                .and_then(|()| out.flush())
                .is_err()
        {
            return;
        }
    }
}

/// Passes on what is typed. Pipes have no escape, and their end is only that
/// of what is said.
fn pass_on(node: &Node, mut to: UnixStream, is_terminal: bool, ended: &Sender<End>) {
    let (mut stdin, mut buffer) = (io::stdin(), [0; 1024]);
    let mut keys = Keys::default();
    while let Ok(count @ 1..) = stdin.read(&mut buffer) {
        if !is_terminal {
            if to.write_all(&buffer[..count]).is_err() {
                return;
            }
            continue;
        }
        for key in &buffer[..count] {
            match keys.next(*key) {
                Key::Pass(key) => drop(to.write_all(&[key])),
                Key::Leave => {
                    let _ = ended.send(End::Left);
                    return;
                }
                Key::Break => {
                    // One that cannot be sent has no answer either.
                    let _ = node.qmp("chardev-send-break", json!({ "id": "console" }));
                }
                Key::Nothing => {}
            }
        }
    }
}

/// What a key means.
#[derive(Debug, PartialEq, Eq)]
enum Key {
    Pass(u8),
    Leave,
    Break,
    Nothing,
}

/// Keys so far, as far as it matters.
#[derive(Default)]
struct Keys {
    escaped: bool,
}

impl Keys {
    fn next(&mut self, key: u8) -> Key {
        match (std::mem::take(&mut self.escaped), key) {
            (false, ESCAPE) => {
                self.escaped = true;
                Key::Nothing
            }
            (false, key) | (true, key @ ESCAPE) => Key::Pass(key),
            (true, b'q' | b'.') => Key::Leave,
            (true, b'b') => Key::Break,
            (true, _) => Key::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_escape_and_the_next_key_are_no_input() {
        let mut keys = Keys::default();
        let meant: Vec<Key> = b"a\x1d\x1d\x1db\x1dx\x03\x1dq"
            .iter()
            .map(|key| keys.next(*key))
            .collect();
        let expected = [
            Key::Pass(b'a'),
            Key::Nothing,
            Key::Pass(ESCAPE),
            Key::Nothing,
            Key::Break,
            Key::Nothing,
            Key::Nothing,
            Key::Pass(3),
            Key::Nothing,
            Key::Leave,
        ];
        assert_eq!(meant, expected);
    }
}
