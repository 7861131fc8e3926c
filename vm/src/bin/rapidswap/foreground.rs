//! A command in a node with this process's streams and signals.

use std::io::{self, Read, Write};
use std::process;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, Once, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use rapidswap_vm::{Error, Exec, ExitStatus, Node, ProcessHandle};

use crate::terminal::{self, Raw};

/// Signals that are passed on to the command.
const FORWARDED: [Signal; 4] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
];

/// The exit status of `timeout`.
const TIMED_OUT: u8 = 124;

/// How long a command may take to end when it is told to.
const GRACE: Duration = Duration::from_secs(5);

/// How a command in the foreground ended.
#[derive(Clone, Copy, Debug)]
pub enum Ended {
    /// By itself.
    Status(ExitStatus),
    /// Whoever read its output went away, as with `| head`.
    Unread,
    /// It took too long.
    TimedOut,
}

impl Ended {
    /// The exit status that a shell would show.
    pub fn shell_code(self) -> u8 {
        match self {
            Ended::Status(status) => u8::try_from(status.shell_code()).unwrap_or(u8::MAX),
            Ended::Unread => 128 + Signal::SIGPIPE as u8,
            Ended::TimedOut => TIMED_OUT,
        }
    }
}

/// What a command's standard streams are here.
pub struct Streams<O, E> {
    /// Whether it gets this process's standard input; else it has none.
    pub stdin: bool,
    /// Where its output goes.
    pub stdout: O,
    /// Where its error output goes.
    pub stderr: E,
}

/// Whom signals are passed on to: the command that runs now.
static FOREMOST: Mutex<Option<ProcessHandle>> = Mutex::new(None);

/// Runs commands in the foreground, one after the other.
pub struct Foreground;

impl Foreground {
    /// Runs a command with this process's streams to its end, or to the end of
    /// its time.
    pub fn run(node: &Node, exec: Exec, limit: Option<Duration>) -> Result<Ended, Error> {
        let streams = Streams {
            stdin: true,
            stdout: io::stdout(),
            stderr: io::stderr(),
        };
        Foreground::run_with(node, exec, limit, streams)
    }

    /// The same with streams of the caller's.
    pub fn run_with(
        node: &Node,
        exec: Exec,
        limit: Option<Duration>,
        streams: Streams<impl Write, impl Write + Send + 'static>,
    ) -> Result<Ended, Error> {
        let tty = exec.tty.is_some();
        let mut signals = SigSet::from_iter(FORWARDED);
        if tty {
            signals.add(Signal::SIGWINCH);
        }
        // Before any thread starts, so that only the one that waits gets them.
        let blocked = signals.thread_block();
        let timer = limit.map(Timer::start);
        let mut process = node.spawn(exec)?;
        if let Some(timer) = &timer {
            // Set once, here.
            let _ = timer.handle.set(process.handle());
        }
        let _raw = if tty { Raw::enter() } else { None };
        if blocked.is_ok() {
            forward_to(process.handle(), signals);
        }
        if let Some(stdin) = process.stdin.take().filter(|_| streams.stdin) {
            thread::spawn(move || pump(io::stdin(), stdin));
        }
        let (stdout, stderr) = (process.stdout.try_clone(), process.stderr.try_clone());
        let (Ok(stdout), Ok(stderr)) = (stdout, stderr) else {
            return Err(Error::SupervisorGone);
        };
        let errors = thread::spawn(move || pump(stderr, streams.stderr));
        if !pump(stdout, streams.stdout) {
            // Dropped, the command is killed.
            return Ok(Ended::Unread);
        }
        let _ = errors.join();
        let status = process.wait()?;
        match timer.is_some_and(Timer::expired) {
            true => Ok(Ended::TimedOut),
            false => Ok(Ended::Status(status)),
        }
    }
}

/// Ends a command that takes too long.
struct Timer {
    /// The command, once it runs.
    handle: Arc<OnceLock<ProcessHandle>>,
    done: Sender<()>,
    thread: JoinHandle<bool>,
}

impl Timer {
    fn start(limit: Duration) -> Timer {
        let handle = Arc::new(OnceLock::<ProcessHandle>::new());
        let (command, (done, waits)) = (Arc::clone(&handle), channel());
        let thread = thread::spawn(move || {
            let passes = |time| waits.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
            if !passes(limit) {
                return false;
            }
            for signal in [Signal::SIGTERM, Signal::SIGKILL] {
                let Some(handle) = command.get() else { break };
                handle.signal(signal as i32);
                if !passes(GRACE) {
                    return true;
                }
            }
            // Its node neither starts nor ends it, and ends it with this
            // process as soon as it can.
            process::exit(TIMED_OUT.into());
        });
        Timer {
            handle,
            done,
            thread,
        }
    }

    /// Whether the time had passed when the command ended.
    fn expired(self) -> bool {
        drop(self.done);
        self.thread.join().unwrap_or(false)
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

/// From now on signals are for this command. One thread takes them all.
fn forward_to(handle: ProcessHandle, signals: SigSet) {
    static TAKER: Once = Once::new();
    if let Ok(mut foremost) = FOREMOST.lock() {
        *foremost = Some(handle);
    }
    TAKER.call_once(|| drop(thread::spawn(move || forward(signals))));
}

fn forward(signals: SigSet) {
    while let Ok(signal) = signals.wait() {
        let Ok(foremost) = FOREMOST.lock() else {
            return;
        };
        match (signal, &*foremost) {
            (Signal::SIGWINCH, Some(handle)) => handle.resize(terminal::size()),
            (other, Some(handle)) => handle.signal(other as i32),
            (_, None) => {}
        }
    }
}
