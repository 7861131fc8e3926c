//! A command in a node with this process's streams and signals.

use std::io::{self, Read, Write};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use rapidswap_vm::{Error, Exec, ExitStatus, Node, ProcessHandle, abandon};

use crate::terminal::{self, Raw};

/// Signals that are passed on to the command.
const FORWARDED: [Signal; 4] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
];

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How a command in the foreground ended.
#[derive(Clone, Copy, Debug)]
pub enum Ended {
    /// By itself.
    Status(ExitStatus),
    /// Whoever read its output went away, as with `| head`.
    Unread,
}

impl Ended {
    /// The exit status that a shell would show.
    pub fn shell_code(self) -> u8 {
        match self {
            Ended::Status(status) => u8::try_from(status.shell_code()).unwrap_or(u8::MAX),
            Ended::Unread => 128 + Signal::SIGPIPE as u8,
        }
    }
}

/// Runs commands in the foreground.
pub struct Foreground;

impl Foreground {
    /// Runs a command to its end.
    pub fn run(node: &Node, exec: Exec) -> Result<Ended, Error> {
        let tty = exec.tty.is_some();
        let mut signals = SigSet::from_iter(FORWARDED);
        if tty {
            signals.add(Signal::SIGWINCH);
        }
        // Before any thread starts, so that only the one that waits gets them.
        let blocked = signals.thread_block();
        let mut process = node.spawn(exec)?;
        let _raw = if tty { Raw::enter() } else { None };
        if blocked.is_ok() {
            let handle = process.handle();
            thread::spawn(move || forward(signals, &handle));
        }
        if let Some(stdin) = process.stdin.take() {
            thread::spawn(move || pump(io::stdin(), stdin));
        }
        let (stdout, stderr) = (process.stdout.try_clone(), process.stderr.try_clone());
        let (Ok(stdout), Ok(stderr)) = (stdout, stderr) else {
            return Err(Error::SupervisorGone);
        };
        let errors = thread::spawn(move || pump(stderr, io::stderr()));
        if !pump(stdout, io::stdout()) {
            // Dropped, the command is killed.
            return Ok(Ended::Unread);
        }
        let _ = errors.join();
        process.wait().map(Ended::Status)
    }
}

/// Copies to the end at once what arrives; whether all of it was taken.
fn pump(mut from: impl Read, mut to: impl Write) -> bool {
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return true,
            Ok(count) => {
                if to
                    .write_all(&buffer[..count])
                    .and_then(|()| to.flush())
                    .is_err()
                {
                    return false;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Its source is gone: no more will come.
            Err(_) => return true,
        }
    }
}

fn forward(signals: SigSet, handle: &ProcessHandle) {
    while let Ok(signal) = signals.wait() {
        match signal {
            Signal::SIGWINCH => handle.resize(terminal::size()),
            other => handle.signal(other as i32),
        }
    }
}

/// Whether [`abandon_on_interrupt`] has taken a signal.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// From now on an interrupt ends what is being brought up, waits until it is
/// gone, and then this process.
pub fn abandon_on_interrupt() -> nix::Result<()> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    signals.thread_block()?;
    thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            INTERRUPTED.store(true, Ordering::SeqCst);
            abandon();
            let _ = writeln!(
                io::stderr(),
                "rapidswap: interrupted, nothing is left running"
            );
            process::exit(128 + signal as i32);
        }
    });
    Ok(())
}
