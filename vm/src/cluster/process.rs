//! A command that runs in a node.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rapidswap_protocol::{Exec, ExitStatus, Output, WindowSize};

use crate::cluster::node::{failed, unexpected, unsent};
use crate::cluster::request::{self, Control, Reply, Request};
use crate::error::{Error, IoContext, Result};

/// A command in a node, with ordinary pipes for its standard streams. Dropped
/// before it has ended, it is killed, unless it is detached.
#[derive(Debug)]
pub struct Process {
    /// Standard input; drop it to send end of file.
    pub stdin: Option<File>,
    /// Standard output.
    pub stdout: File,
    /// Standard error; at its end at once for a command on a terminal.
    pub stderr: File,
    connection: Arc<UnixStream>,
    pid: i32,
    ended: Option<ExitStatus>,
}

impl Process {
    pub(crate) fn start(connection: UnixStream, node: &str, exec: Exec) -> Result<Process> {
        let (far_stdin, stdin) = pipe()?;
        let (stdout, far_stdout) = pipe()?;
        let (stderr, far_stderr) = pipe()?;
        let request = Request::Exec {
            node: node.to_owned(),
            command: exec.into(),
        };
        let far = [far_stdin.as_fd(), far_stdout.as_fd(), far_stderr.as_fd()];
        request::send(&connection, &request, &far).map_err(unsent)?;
        let pid = match reply(&connection)? {
            Reply::Started { pid } => pid,
            other => return Err(failed(other)),
        };
        Ok(Process {
            stdin: Some(stdin.into()),
            stdout: stdout.into(),
            stderr: stderr.into(),
            connection: Arc::new(connection),
            pid,
            ended: None,
        })
    }

    /// Its process id in the node.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Something to signal the command with from another thread.
    pub fn handle(&self) -> ProcessHandle {
        ProcessHandle {
            connection: Arc::clone(&self.connection),
        }
    }

    /// Signals the command's process group.
    pub fn signal(&self, signal: i32) {
        self.handle().signal(signal);
    }

    /// Waits until the command has ended; its outputs may be read before or
    /// after.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        let status = match reply(&self.connection)? {
            Reply::Exited {
                code: Some(code), ..
            } => ExitStatus::Code(code),
            Reply::Exited {
                signal: Some(signal),
                ..
            } => ExitStatus::Signal(signal),
            other => return Err(failed(other)),
        };
        self.ended = Some(status);
        Ok(status)
    }

    /// Waits for the end no longer than `limit`; `None` if it has not come.
    pub fn wait_timeout(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            let mut fds = [PollFd::new(self.connection.as_fd(), PollFlags::POLLIN)];
            let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
            let ready = poll(&mut fds, limit).what(|| "cannot wait for a command".into())?;
            if ready == 0 {
                return Ok(None);
            }
        }
        self.wait().map(Some)
    }

    /// Closes standard input, reads both outputs to their ends and waits.
    pub fn output(mut self) -> Result<Output> {
        self.stdin = None;
        let problem = || "cannot read a command's output".to_owned();
        let mut stderr = self.stderr.try_clone().what(problem)?;
        let rest = thread::spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).map(|_| bytes)
        });
        let mut stdout = Vec::new();
        self.stdout.read_to_end(&mut stdout).what(problem)?;
        let stderr = rest
            .join()
            .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        let stderr = stderr.what(problem)?;
        Ok(Output {
            status: self.wait()?,
            stdout,
            stderr,
        })
    }
}

/// Signals and resizes a [`Process`] from any thread.
#[derive(Clone, Debug)]
pub struct ProcessHandle {
    connection: Arc<UnixStream>,
}

impl ProcessHandle {
    /// Signals the command's process group. One that has ended is left alone.
    pub fn signal(&self, signal: i32) {
        self.tell(&Control::Signal(signal));
    }

    /// Tells the command's terminal its new size.
    pub fn resize(&self, size: WindowSize) {
        self.tell(&Control::Resize(size.rows, size.cols));
    }

    fn tell(&self, control: &Control) {
        // A supervisor that is gone shows in `wait`.
        let _ = request::send(&self.connection, control, &[]);
    }
}

/// The next answer of the supervisor.
pub(crate) fn reply(connection: &UnixStream) -> Result<Reply> {
    match request::receive(connection) {
        Ok(Some((reply, _))) => Ok(reply),
        Ok(None) => Err(Error::SupervisorGone),
        Err(error) => Err(unexpected(&error)),
    }
}

/// A pipe: the end to read from, the end to write to.
pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC).what(|| "cannot make a pipe".into())
}
