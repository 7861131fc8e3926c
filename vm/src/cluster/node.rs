//! One node of a running cluster.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rapidswap_protocol::{Error as AgentError, Exec, Output};
use serde_json::Value;

use crate::cluster::process::{Process, pipe, reply};
use crate::cluster::request::{self, Control, Reply, Request};
use crate::cluster::status::NodeStatus;
use crate::console;
use crate::error::{Error, IoContext, Result};
use crate::fault::Fault;
use crate::supervisor::SOCKET;
use crate::wait;

/// How long any step may take by which a cluster is brought up or changed. Many
/// times what the longest takes on the slowest kernel and a busy host: it is
/// for a node that hangs and does not say so.
pub(crate) const STEP: Duration = Duration::from_secs(300);

/// How long a node may take to say how it is. However patient one is with its
/// kernel, that is less than a step.
pub(crate) const ANSWER: Duration = Duration::from_secs(15);

/// A node: something that runs commands, takes files, has a console and can
/// be stopped for a while.
#[derive(Clone, Debug)]
pub struct Node {
    run_dir: PathBuf,
    cluster: String,
    name: String,
}

impl Node {
    pub(crate) fn new(run_dir: &Path, cluster: &str, name: &str) -> Node {
        Node {
            run_dir: run_dir.to_owned(),
            cluster: cluster.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The directory of its cluster.
    pub(crate) fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// The name of its cluster.
    pub(crate) fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a command to its end, with nothing on its standard input.
    pub fn exec<I, S>(&self, argv: I) -> Result<Output>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.spawn(Exec::new(argv))?.output()
    }

    /// Starts a command.
    pub fn spawn(&self, exec: Exec) -> Result<Process> {
        Process::start(self.connect()?, &self.name, exec)
    }

    /// Does with it what it does not come back from if the node hangs, for no
    /// longer than `limit`; `what` says what it is.
    pub(crate) fn within<T: Send + 'static>(
        &self,
        what: &str,
        limit: Duration,
        act: impl FnOnce(&Node) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let node = self.clone();
        wait::within(limit, move || act(&node)).unwrap_or_else(|| {
            Err(Error::Hangs {
                node: self.name.clone(),
                what: what.to_owned(),
                limit,
            })
        })
    }

    /// The same for a step.
    pub(crate) fn step<T: Send + 'static>(
        &self,
        what: &str,
        act: impl FnOnce(&Node) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.within(what, STEP, act)
    }

    /// Runs a command that takes moments and has to succeed; gives its standard
    /// output as text. `what` says what it is for, should it fail.
    pub fn run<I, S>(&self, what: &str, argv: I) -> Result<String>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.run_within(STEP, what, argv)
    }

    /// The same of one that may take as long as `limit`.
    pub(crate) fn run_within<I, S>(&self, limit: Duration, what: &str, argv: I) -> Result<String>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let exec = Exec::new(argv);
        let output = self.within(what, limit, move |node| node.spawn(exec)?.output())?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said: Vec<&str> = said
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .collect();
        let detail = match said.is_empty() {
            true => output.status.to_string(),
            false => format!("{}: {}", output.status, said.join("; ")),
        };
        Err(Error::Step {
            what: what.to_owned(),
            node: self.name.clone(),
            detail,
        })
    }

    /// Writes all of `data` to a file in the node, which appears under its
    /// name when it is complete.
    pub fn push(&self, path: &Path, mode: u32, data: &mut (dyn Read + Send)) -> Result<()> {
        let connection = self.connect()?;
        let (far, near) = pipe()?;
        let request = Request::Push {
            node: self.name.clone(),
            path: path.to_owned(),
            mode,
        };
        request::send(&connection, &request, &[far.as_fd()]).map_err(unsent)?;
        drop(far);
        let mut near = File::from(near);
        match io::copy(data, &mut near) {
            Ok(_) => {
                // A supervisor that has refused has closed the connection.
                let _ = request::send(&connection, &Control::Complete, &[]);
            }
            // It stopped reading, and its answer says why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => return Err(error).what(|| format!("cannot push {}", path.display())),
        }
        drop(near);
        done(&connection)
    }

    /// Reads a file of the node to its end.
    pub fn pull(&self, path: &Path, sink: &mut (dyn Write + Send)) -> Result<()> {
        let connection = self.connect()?;
        let (near, far) = pipe()?;
        let request = Request::Pull {
            node: self.name.clone(),
            path: path.to_owned(),
        };
        request::send(&connection, &request, &[far.as_fd()]).map_err(unsent)?;
        drop(far);
        let copied = io::copy(&mut File::from(near), sink);
        // The node's own reason comes first: a cut file is its consequence.
        done(&connection)?;
        copied
            .map(drop)
            .what(|| format!("cannot store {}", path.display()))
    }

    /// Stops its processors; it neither computes nor answers until
    /// [`Node::resume`].
    pub fn pause(&self) -> Result<()> {
        self.ask(&Request::Fault(Fault::Pause(self.name.clone())))
            .map(drop)
    }

    /// Lets its processors go on.
    pub fn resume(&self) -> Result<()> {
        self.ask(&Request::Fault(Fault::Resume(self.name.clone())))
            .map(drop)
    }

    /// Gives its QEMU any QMP command; a host has none.
    pub fn qmp(&self, command: &str, arguments: Value) -> Result<Value> {
        self.qmp_until(command, arguments, None)
    }

    /// The same with a command that goes on after its answer: gives the data of
    /// the event of that name, by which QEMU says its end, within a time.
    pub(crate) fn qmp_until(
        &self,
        command: &str,
        arguments: Value,
        until: Option<(&str, Duration)>,
    ) -> Result<Value> {
        let (node, command) = (self.name.clone(), command.to_owned());
        match self.ask(&Request::Qmp {
            node,
            command,
            arguments,
            until: until.map(|(event, limit)| (event.to_owned(), limit)),
        })? {
            Reply::Value(value) => Ok(value),
            other => Err(failed(other)),
        }
    }

    /// How it is.
    pub fn status(&self) -> Result<NodeStatus> {
        let Reply::Status(status) = self.ask(&Request::Status)? else {
            return Err(Error::SupervisorGone);
        };
        let mut nodes = status.nodes.into_iter();
        nodes
            .find(|node| node.name == self.name)
            .ok_or(Error::SupervisorGone)
    }

    /// All its kernel has said so far.
    pub fn console(&self) -> Result<String> {
        let path = self.console_path();
        let bytes = fs::read(&path).what(|| format!("cannot read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The file its console goes to.
    pub fn console_path(&self) -> PathBuf {
        self.run_dir.join(&self.name).join(console::FILE)
    }

    fn ask(&self, request: &Request) -> Result<Reply> {
        ask(&self.connect()?, request)
    }

    fn connect(&self) -> Result<UnixStream> {
        connect(&self.run_dir, &self.cluster)
    }
}

/// Opens a connection to a cluster's supervisor.
pub(crate) fn connect(run_dir: &Path, cluster: &str) -> Result<UnixStream> {
    UnixStream::connect(run_dir.join(SOCKET)).map_err(|_| Error::NoCluster(cluster.to_owned()))
}

/// One question, one answer.
pub(crate) fn ask(connection: &UnixStream, request: &Request) -> Result<Reply> {
    request::send(connection, request, &[]).map_err(unsent)?;
    match reply(connection)? {
        reply @ (Reply::Done | Reply::Status(_) | Reply::Names(_) | Reply::Value(_)) => Ok(reply),
        other => Err(failed(other)),
    }
}

fn done(connection: &UnixStream) -> Result<()> {
    match reply(connection)? {
        Reply::Done => Ok(()),
        other => Err(failed(other)),
    }
}

/// The error in a reply.
pub(crate) fn failed(reply: Reply) -> Error {
    match reply {
        Reply::UnknownNode { node, known } => Error::UnknownNode { node, known },
        Reply::NodeGone {
            node,
            outcome,
            reason,
            tail,
        } => Error::NodeGone {
            node,
            outcome,
            reason,
            tail,
        },
        Reply::Remote { errno, message } => AgentError::Remote { errno, message }.into(),
        Reply::Failed(reason) => Error::Supervisor(reason),
        other => Error::Supervisor(format!("the supervisor answered out of turn: {other:?}")),
    }
}

/// The error of a request that cannot be sent: requests are text, and not every
/// path is.
pub(crate) fn unsent(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::InvalidData => Error::BadOption(format!("cannot ask for that: {error}")),
        _ => Error::SupervisorGone,
    }
}

/// The error of an answer that cannot be read.
pub(crate) fn unexpected(error: &io::Error) -> Error {
    Error::Supervisor(format!("the supervisor's answer cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_node_that_does_not_answer_is_not_waited_for_for_ever() {
        let run = tempfile::tempdir().expect("a directory");
        // Whoever is to answer takes no notice.
        let _silent = UnixListener::bind(run.path().join(SOCKET)).expect("a socket");
        let node = Node::new(run.path(), "default", "client");
        let ran = node.run_within(Duration::from_millis(10), "setting up the link", ["true"]);
        let error = ran.expect_err("nobody answers");
        assert_eq!((error.exit_code(), error.node()), (95, Some("client")));
        let text = error.to_string();
        assert!(text.starts_with("node `client` does not answer: setting up the link is"));
    }

    #[test]
    fn a_path_that_is_no_text_is_refused() {
        let run = tempfile::tempdir().expect("a directory");
        let _supervisor = UnixListener::bind(run.path().join(SOCKET)).expect("a socket");
        let node = Node::new(run.path(), "default", "client");
        let path = Path::new(OsStr::from_bytes(b"/tmp/\xff"));
        let pulled = node.pull(path, &mut Vec::new()).expect_err("no text");
        let pushed = node.push(path, 0o644, &mut io::empty());
        for error in [pulled, pushed.expect_err("no text")] {
            let text = error.to_string();
            assert!(text.contains("UTF-8"), "{text}");
        }
    }
}
