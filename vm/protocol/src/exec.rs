use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// Number of lines.
    pub rows: u16,
    /// Number of columns.
    pub cols: u16,
}

/// A command to run in a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exec {
    /// The program, looked up in `PATH` if it has no slash, and its arguments.
    pub argv: Vec<OsString>,
    /// Variables set in addition to the agent's own environment.
    pub env: Vec<(OsString, OsString)>,
    /// The directory to start in; the agent's own (`/` in a VM) where `None`.
    pub cwd: Option<PathBuf>,
    /// Run on a terminal of this size; standard error then arrives as standard
    /// output, as on any terminal.
    pub tty: Option<WindowSize>,
    /// Start it to outlive this connection: standard input is empty, both
    /// outputs are appended to `/run/log/NAME`, where the name is [`Exec::log`].
    /// [`crate::Process::wait`] works while the connection lasts.
    pub detach: bool,
    /// The name of a detached command's log, its program's base name where
    /// `None`.
    pub log: Option<OsString>,
}

impl Exec {
    /// A command with no more than its command line.
    pub fn new<I, S>(argv: I) -> Exec
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let argv = argv.into_iter().map(|arg| arg.as_ref().to_owned());
        Exec {
            argv: argv.collect(),
            ..Exec::default()
        }
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Exec {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Starts the command in `dir`.
    #[must_use]
    pub fn cwd(mut self, dir: impl Into<PathBuf>) -> Exec {
        self.cwd = Some(dir.into());
        self
    }

    /// Runs the command on a terminal.
    #[must_use]
    pub fn tty(mut self, size: WindowSize) -> Exec {
        self.tty = Some(size);
        self
    }

    /// Lets the command outlive the connection.
    #[must_use]
    pub fn detach(mut self) -> Exec {
        self.detach = true;
        self
    }

    /// Names the log of a detached command.
    #[must_use]
    pub fn log(mut self, name: impl Into<OsString>) -> Exec {
        self.log = Some(name.into());
        self
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It returned this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

impl ExitStatus {
    /// Whether it returned 0.
    pub fn success(self) -> bool {
        self == ExitStatus::Code(0)
    }

    /// The code a shell would show: 128 and the signal for a killed command.
    pub fn shell_code(self) -> i32 {
        match self {
            ExitStatus::Code(code) => code,
            ExitStatus::Signal(signal) => 128 + signal,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Code(code) => write!(f, "exit status {code}"),
            ExitStatus::Signal(signal) => write!(f, "killed by signal {signal}"),
        }
    }
}

/// What a command printed and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: Vec<u8>,
}
