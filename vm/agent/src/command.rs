//! A command that runs for the host.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::pty::openpty;
use nix::unistd;
use rapidswap_protocol::frame::Kind;
use rapidswap_protocol::message::{self, Failure, Lane};
use rapidswap_protocol::{Exec, ExitStatus, WindowSize};

use crate::failure::{failed, refused};
use crate::lanes::{Sink, Source};
use crate::output::Output;
use crate::sys;

/// What commands find in a VM.
const ENVIRONMENT: [(&str, &str); 3] = [
    (
        "PATH",
        "/rapidswap/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ),
    ("HOME", "/root"),
    ("LANG", "C.UTF-8"),
];

/// What all commands have in common.
pub(crate) struct Surroundings {
    /// Where detached commands write.
    pub(crate) logs: PathBuf,
    /// Whether the agent is PID 1: exempt from the OOM killer, which commands
    /// must not be, and without an environment fit for them.
    pub(crate) init: bool,
}

/// A running command, or one that has ended and left something to be read.
pub(crate) struct Command {
    pub(crate) pid: i32,
    pub(crate) stdin: Sink,
    pub(crate) stdout: Source,
    pub(crate) stderr: Source,
    terminal: Option<File>,
    detached: bool,
    exited: bool,
}

/// The agent's ends of what a command has for standard input and outputs.
struct Ends {
    stdin: Sink,
    stdout: Source,
    stderr: Source,
    terminal: Option<File>,
}

impl Command {
    pub(crate) fn start(exec: &Exec, around: &Surroundings) -> Result<Command, Failure> {
        let Some((program, args)) = exec.argv.split_first() else {
            return Err(refused("cannot run an empty command line"));
        };
        let mut command = process::Command::new(program);
        command.args(args);
        if around.init {
            command.env_clear().envs(ENVIRONMENT);
        }
        command.envs(exec.env.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &exec.cwd {
            // Else the error would look as if the program did not exist.
            fs::metadata(dir).map_err(|e| failed(format_args!("enter {}", dir.display()), &e))?;
            command.current_dir(dir);
        }
        let ends = connect(&mut command, exec, around)?;
        sys::prepare_child(&mut command, exec.tty.is_some(), around.init);
        let child = command.spawn().map_err(|error| {
            let program = Path::new(program).display();
            failed(format_args!("run {program}"), &error)
        })?;
        Ok(Command {
            pid: child.id() as i32,
            stdin: ends.stdin,
            stdout: ends.stdout,
            stderr: ends.stderr,
            terminal: ends.terminal,
            detached: exec.detach,
            exited: false,
        })
    }

    pub(crate) fn announce(&self, stream: u32, output: &Output) {
        let pid = message::encode_number(self.pid);
        output.send(Kind::Started, stream, &pid);
        for (source, lane) in [(&self.stdout, Lane::Stdout), (&self.stderr, Lane::Stderr)] {
            if source.is_ended() {
                output.eof(stream, lane);
            }
        }
    }

    /// Whether it has this id, which it may lend to another once it has been reaped.
    pub(crate) fn has(&self, pid: i32) -> bool {
        !self.exited && self.pid == pid
    }

    /// Tells the host how the command ended. What it left in its pipes still
    /// follows.
    pub(crate) fn exited(&mut self, status: ExitStatus, stream: u32, output: &Output) {
        self.exited = true;
        self.stdin.close();
        output.send(Kind::Exit, stream, &message::encode_exit(status));
        self.stdout.close_after_present();
        self.stderr.close_after_present();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.exited && self.stdout.is_ended() && self.stderr.is_ended()
    }

    pub(crate) fn signal(&self, signal: i32) {
        // A process that has been reaped may have lent its id to another.
        if !self.exited {
            sys::signal_group(self.pid, signal);
        }
    }

    pub(crate) fn resize(&self, size: WindowSize) {
        if let Some(terminal) = &self.terminal {
            // Only a size of 0 or a closed terminal is refused; both are
            // harmless.
            let _ = sys::set_window_size(terminal.as_fd(), size);
        }
    }

    /// Ends the command because nobody waits for it any more.
    pub(crate) fn abandon(self) {
        if !self.detached {
            self.signal(libc::SIGKILL);
        }
    }
}

fn connect(
    command: &mut process::Command,
    exec: &Exec,
    around: &Surroundings,
) -> Result<Ends, Failure> {
    if exec.detach {
        let log = open_log(exec, around)?;
        let copy = log.try_clone().map_err(|e| failed("copy a file", &e))?;
        command.stdin(Stdio::null()).stdout(log).stderr(copy);
        return Ok(Ends {
            stdin: Sink::ended(),
            stdout: Source::ended(Lane::Stdout),
            stderr: Source::ended(Lane::Stderr),
            terminal: None,
        });
    }
    let connected = match exec.tty {
        Some(size) => connect_terminal(command, size),
        None => connect_pipes(command),
    };
    connected.map_err(|error| failed("make a pipe or terminal for a command", &error))
}

fn connect_pipes(command: &mut process::Command) -> io::Result<Ends> {
    let (theirs, stdin) = unistd::pipe2(OFlag::O_CLOEXEC)?;
    command.stdin(theirs);
    let (stdout, theirs) = unistd::pipe2(OFlag::O_CLOEXEC)?;
    command.stdout(theirs);
    let (stderr, theirs) = unistd::pipe2(OFlag::O_CLOEXEC)?;
    command.stderr(theirs);
    Ok(Ends {
        stdin: Sink::new(non_blocking(stdin)?, false),
        stdout: Source::new(non_blocking(stdout)?, Lane::Stdout),
        stderr: Source::new(non_blocking(stderr)?, Lane::Stderr),
        terminal: None,
    })
}

fn connect_terminal(command: &mut process::Command, size: WindowSize) -> io::Result<Ends> {
    let pty = openpty(None, None)?;
    // No other command runs between `openpty`, which cannot set this itself,
    // and here: one thread starts them all.
    close_on_exec(&pty.master)?;
    close_on_exec(&pty.slave)?;
    sys::set_window_size(pty.master.as_fd(), size)?;
    command.stdin(pty.slave.try_clone()?);
    command.stdout(pty.slave.try_clone()?);
    command.stderr(pty.slave);
    let master = non_blocking(pty.master)?;
    Ok(Ends {
        stdin: Sink::new(master.try_clone()?, true),
        stdout: Source::terminal(master.try_clone()?),
        stderr: Source::ended(Lane::Stderr),
        terminal: Some(master),
    })
}

fn non_blocking(file: OwnedFd) -> io::Result<File> {
    fcntl(file.as_raw_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(File::from(file))
}

fn close_on_exec(file: &OwnedFd) -> io::Result<()> {
    let flag = nix::fcntl::FdFlag::FD_CLOEXEC;
    fcntl(file.as_raw_fd(), FcntlArg::F_SETFD(flag))?;
    Ok(())
}

fn open_log(exec: &Exec, around: &Surroundings) -> Result<File, Failure> {
    let program = exec.argv.first().map(OsString::as_os_str);
    let name = exec.log.as_deref().or(program).unwrap_or_default();
    let name = Path::new(name).file_name().unwrap_or(OsStr::new("log"));
    let path = around.logs.join(name);
    let opened = fs::create_dir_all(&around.logs)
        .and_then(|()| OpenOptions::new().append(true).create(true).open(&path));
    opened.map_err(|error| failed(format_args!("open the log {}", path.display()), &error))
}
