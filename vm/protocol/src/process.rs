use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::channel::Control;
use crate::exec::{ExitStatus, Output, WindowSize};
use crate::frame::{Kind, MAX_PAYLOAD};
use crate::message::{self, Lane, WINDOW};
use crate::{Error, Exec};

/// A command in a node. Dropped before it has ended, it is killed, unless it
/// is detached.
pub struct Process {
    /// Standard input; drop it to send end of file.
    pub stdin: Option<Stdin>,
    /// Standard output. A clone may be read in another thread.
    pub stdout: Stream,
    /// Standard error, at end of file at once for a command on a terminal.
    pub stderr: Stream,
    leash: Leash,
    pid: i32,
}

impl Process {
    pub(crate) fn new(control: Control, pid: i32, exec: &Exec) -> Process {
        let control = Arc::new(control);
        let stream = |lane| Stream {
            control: Arc::clone(&control),
            lane,
        };
        let stdin = Stdin {
            control: Arc::clone(&control),
        };
        Process {
            stdin: (!exec.detach).then_some(stdin),
            stdout: stream(Lane::Stdout),
            stderr: stream(Lane::Stderr),
            leash: Leash { control },
            pid,
        }
    }

    /// Its process id in the node.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Something to signal the command with from another thread.
    pub fn handle(&self) -> Handle {
        Handle {
            control: Arc::clone(&self.leash.control),
        }
    }

    /// Signals the command's process group. A command that has already ended
    /// is left in peace.
    pub fn signal(&self, signal: i32) {
        self.handle().signal(signal);
    }

    /// Tells the command's terminal its new size.
    pub fn resize(&self, size: WindowSize) {
        self.handle().resize(size);
    }

    /// Waits until the command's process has ended. Its outputs may be read
    /// before or after; whoever else holds them open is not waited for.
    pub fn wait(&mut self) -> Result<ExitStatus, Error> {
        self.until(None).unwrap_or(Err(Error::Gone))
    }

    /// Waits for the end no longer than `limit`; `None` if it has not come.
    pub fn wait_timeout(&mut self, limit: Duration) -> Result<Option<ExitStatus>, Error> {
        self.until(Instant::now().checked_add(limit)).transpose()
    }

    /// Closes standard input, reads both outputs to their ends and waits.
    pub fn output(mut self) -> Result<Output, Error> {
        self.stdin = None;
        let mut stderr = self.stderr.clone();
        let rest = thread::spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).map(|_| bytes)
        });
        let mut stdout = Vec::new();
        let read = self.stdout.read_to_end(&mut stdout);
        let stderr = rest.join().unwrap_or_else(|_| Ok(Vec::new()));
        let status = self.wait()?;
        match (read, stderr) {
            (Ok(_), Ok(stderr)) => Ok(Output {
                status,
                stdout,
                stderr,
            }),
            _ => Err(Error::Gone),
        }
    }

    fn until(&self, deadline: Option<Instant>) -> Option<Result<ExitStatus, Error>> {
        self.leash.control.until(deadline, |channel| channel.exit)
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({})", self.pid)
    }
}

/// What kills a command that nobody waits for any more. A field of its own, so
/// that the public ones can be moved out of a [`Process`].
struct Leash {
    control: Arc<Control>,
}

impl Drop for Leash {
    fn drop(&mut self) {
        // What a command that has ended left to be read may still be read.
        if self.control.channel.lock().exit.is_none() {
            self.control.close();
        }
    }
}

/// Signals and resizes a [`Process`] from any thread.
#[derive(Clone)]
pub struct Handle {
    control: Arc<Control>,
}

impl Handle {
    /// See [`Process::signal`].
    pub fn signal(&self, signal: i32) {
        self.tell(Kind::Signal, &message::encode_number(signal));
    }

    /// See [`Process::resize`].
    pub fn resize(&self, size: WindowSize) {
        self.tell(Kind::Winsize, &message::encode_size(size));
    }

    fn tell(&self, kind: Kind, payload: &[u8]) {
        let control = &self.control;
        let over = {
            let channel = control.channel.lock();
            channel.exit.is_some() || channel.gone
        };
        if !over {
            // A lost connection shows in `wait`, which has to be called anyway.
            let _ = control.send(kind, payload);
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle(stream {})", self.control.stream)
    }
}

/// Standard output or error of a command.
#[derive(Clone)]
pub struct Stream {
    control: Arc<Control>,
    lane: Lane,
}

impl Stream {
    pub(crate) fn new(control: Arc<Control>, lane: Lane) -> Stream {
        Stream { control, lane }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let lane = self.lane;
        let read = self.control.channel.wait(None, |channel| {
            let inlet = channel.inlet(lane);
            if !inlet.bytes.is_empty() {
                let count = inlet.bytes.read(buffer).unwrap_or(0);
                inlet.owed += count as u32;
                let credit = if inlet.owed >= WINDOW / 2 && !inlet.ended {
                    std::mem::take(&mut inlet.owed)
                } else {
                    0
                };
                return Some(Ok((count, credit)));
            }
            if !inlet.ended {
                return None;
            }
            // Without the status, nobody knows whether this was all.
            let cut = channel.gone && channel.exit.is_none();
            Some(if cut { Err(Error::Gone) } else { Ok((0, 0)) })
        });
        let (count, credit) = read.unwrap_or(Err(Error::Gone))?;
        if credit > 0 {
            let payload = message::encode_credit(lane, credit);
            // A lost connection shows once the bytes here are read.
            let _ = self.control.send(Kind::Credit, &payload);
        }
        Ok(count)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({}, {:?})", self.control.stream, self.lane)
    }
}

/// Standard input of a command. Dropping it sends end of file, which on a
/// terminal is the end-of-file character.
pub struct Stdin {
    control: Arc<Control>,
}

impl Stdin {
    pub(crate) fn new(control: Arc<Control>) -> Stdin {
        Stdin { control }
    }
}

impl Write for Stdin {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count: Option<io::Result<usize>> = self.control.channel.wait(None, |channel| {
            if channel.gone && channel.exit.is_none() {
                return Some(Err(Error::Gone.into()));
            }
            if channel.stdin_ended {
                return Some(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let count = buffer.len().min(MAX_PAYLOAD).min(channel.credit as usize);
            channel.credit -= count as u32;
            (count > 0).then_some(Ok(count))
        });
        let count = count.unwrap_or_else(|| Err(Error::Gone.into()))?;
        self.control.send(Kind::Stdin, &buffer[..count])?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Stdin {
    fn drop(&mut self) {
        if !self.control.channel.lock().stdin_ended {
            // A lost connection is also an end of file.
            let payload = message::encode_lane(Lane::Stdin);
            let _ = self.control.send(Kind::Eof, &payload);
        }
    }
}

impl fmt::Debug for Stdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stdin({})", self.control.stream)
    }
}
