//! A command in a node with this process's streams and signals.

use std::io::{self, Read, Write};
use std::process;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

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
        streams: Streams<impl Write + Send + 'static, impl Write + Send + 'static>,
    ) -> Result<Ended, Error> {
        let tty = exec.tty.is_some();
        let mut signals = SigSet::from_iter(FORWARDED);
        if tty {
            signals.add(Signal::SIGWINCH);
        }
        // Before any thread starts, so that only the one that waits gets them.
        if signals.thread_block().is_ok() {
            static TAKER: Once = Once::new();
            TAKER.call_once(|| drop(thread::spawn(move || forward(signals))));
        }
        let (node, (steps, seen)) = (node.clone(), channel());
        // Its node may neither start nor end it: nobody waits for that here.
        thread::spawn(move || {
            let ended = to_its_end(&node, exec, streams, &steps);
            let _ = steps.send(Step::Ended(ended));
        });
        let mut command: Option<(ProcessHandle, Option<Raw>)> = None;
        let mut until = limit.map(|limit| Instant::now() + limit);
        let mut ends = [Signal::SIGTERM, Signal::SIGKILL].into_iter();
        let mut is_late = false;
        loop {
            match next(&seen, until) {
                Ok(Step::Started(handle)) => {
                    if let Ok(mut foremost) = FOREMOST.lock() {
                        *foremost = Some(handle.clone());
                    }
                    command = Some((handle, if tty { Raw::enter() } else { None }));
                }
                Ok(Step::Ended(ended)) if is_late => return ended.map(|_| Ended::TimedOut),
                Ok(Step::Ended(ended)) => return ended,
                Err(RecvTimeoutError::Disconnected) => return Err(Error::SupervisorGone),
                Err(RecvTimeoutError::Timeout) => {
                    // What is left of it ends with this process, if its node can.
                    let (Some((handle, _)), Some(signal)) = (&command, ends.next()) else {
                        return Ok(Ended::TimedOut);
                    };
                    handle.signal(signal as i32);
                    (is_late, until) = (true, Some(Instant::now() + GRACE));
                }
            }
        }
    }
}

/// What a command does.
enum Step {
    Started(ProcessHandle),
    Ended(Result<Ended, Error>),
}

/// The next step, if it comes in time.
fn next(steps: &Receiver<Step>, until: Option<Instant>) -> Result<Step, RecvTimeoutError> {
    match until {
        Some(until) => steps.recv_timeout(until.saturating_duration_since(Instant::now())),
        None => steps.recv().map_err(|_| RecvTimeoutError::Disconnected),
    }
}

/// Starts a command and carries its streams to their ends.
fn to_its_end(
    node: &Node,
    exec: Exec,
    streams: Streams<impl Write, impl Write + Send + 'static>,
    steps: &Sender<Step>,
) -> Result<Ended, Error> {
    let mut process = node.spawn(exec)?;
    let _ = steps.send(Step::Started(process.handle()));
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
    Ok(Ended::Status(process.wait()?))
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

/// Passes signals on. Before there is a command they end this process.
fn forward(signals: SigSet) {
    while let Ok(signal) = signals.wait() {
        let Ok(foremost) = FOREMOST.lock() else {
            return;
        };
        match (signal, &*foremost) {
            (Signal::SIGWINCH, Some(handle)) => handle.resize(terminal::size()),
            (Signal::SIGWINCH, None) => {}
            (other, Some(handle)) => handle.signal(other as i32),
            (other, None) => process::exit(128 + other as i32),
        }
    }
}
