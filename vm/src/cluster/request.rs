//! What commands ask of a cluster's supervisor, over the unix socket in its
//! run directory: one connection for each request, messages of a length and
//! that many bytes of JSON. Bulk data does not pass through messages: the
//! client sends the ends of pipes along with its request, so that each of a
//! command's streams has its own flow control and its own end.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rapidswap_protocol::{Exec, ExitStatus, WindowSize};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::cluster::status::Status;
use crate::fault::Fault;
use crate::outcome::Outcome;
use crate::sys;

/// Longest message; a command line may be as long as `execve` takes.
const MAX_MESSAGE: usize = 16 << 20;

/// The first message of a connection.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// How the cluster is.
    Status,
    /// What its nodes are called.
    Names,
    /// Stop all of it.
    Down,
    /// Run a command; comes with the ends of three pipes.
    Exec { node: String, command: Command },
    /// Write a file in a node; comes with the end of one pipe.
    Push {
        node: String,
        path: PathBuf,
        mode: u32,
    },
    /// Read a file in a node; comes with the end of one pipe.
    Pull { node: String, path: PathBuf },
    /// Make something go wrong, or right again.
    Fault(Fault),
    /// Any QMP command to a node's QEMU; it goes on until an event of a name,
    /// for no longer than a time, where there is one.
    Qmp {
        node: String,
        command: String,
        arguments: serde_json::Value,
        until: Option<(String, Duration)>,
    },
}

/// What a client says while its request is carried out.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Control {
    /// Send the command a signal.
    Signal(i32),
    /// The terminal has a new size.
    Resize(u16, u16),
    /// The file to push has been written to the pipe whole.
    Complete,
}

/// What the supervisor answers. [`Reply::Started`] alone is not the last word.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// Done.
    Done,
    /// The command runs, as this process of the node.
    Started { pid: i32 },
    /// The command ended: a code, or a signal.
    Exited {
        code: Option<i32>,
        signal: Option<i32>,
    },
    /// The answer to [`Request::Status`].
    Status(Box<Status>),
    /// The answer to [`Request::Names`].
    Names(Vec<String>),
    /// The answer to [`Request::Qmp`], or the event's data.
    Value(serde_json::Value),
    /// The node is not one of this cluster's.
    UnknownNode { node: String, known: String },
    /// The node is not up any more.
    NodeGone {
        node: String,
        outcome: Outcome,
        reason: String,
        tail: String,
    },
    /// The agent could not do it; `errno` is 0 where there is none.
    Remote { errno: i32, message: String },
    /// Anything else that failed.
    Failed(String),
}

impl Reply {
    pub(crate) fn exited(status: ExitStatus) -> Reply {
        match status {
            ExitStatus::Code(code) => Reply::Exited {
                code: Some(code),
                signal: None,
            },
            ExitStatus::Signal(signal) => Reply::Exited {
                code: None,
                signal: Some(signal),
            },
        }
    }
}

/// An [`Exec`] as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Command {
    argv: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: Option<PathBuf>,
    tty: Option<(u16, u16)>,
    detach: bool,
    log: Option<OsString>,
}

impl From<Exec> for Command {
    fn from(exec: Exec) -> Command {
        Command {
            argv: exec.argv,
            env: exec.env,
            cwd: exec.cwd,
            tty: exec.tty.map(|size| (size.rows, size.cols)),
            detach: exec.detach,
            log: exec.log,
        }
    }
}

impl From<Command> for Exec {
    fn from(command: Command) -> Exec {
        Exec {
            argv: command.argv,
            env: command.env,
            cwd: command.cwd,
            tty: command.tty.map(|(rows, cols)| WindowSize { rows, cols }),
            detach: command.detach,
            log: command.log,
        }
    }
}

/// Sends one message, with descriptors attached to its first bytes.
pub(crate) fn send<T: Serialize>(
    mut stream: &UnixStream,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len())
        .map_err(|_| too_long())?
        .to_le_bytes();
    // Four bytes into a socket that has room for them go whole or not at all.
    let sent = sys::send_with_fds(stream, &length, fds)?;
    stream.write_all(&length[sent..])?;
    stream.write_all(&body)
}

/// Receives one message and the descriptors that came with it; `None` at the
/// end of the connection.
pub(crate) fn receive<T: DeserializeOwned>(
    mut stream: &UnixStream,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut length = [0; 4];
    let (got, fds) = loop {
        match sys::recv_with_fds(stream, &mut length) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A client that is killed with an answer unread resets.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            other => break other?,
        }
    };
    if got == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut length[got..])?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(too_long());
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Some((serde_json::from_slice(&body)?, fds)))
}

fn too_long() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "a message to the supervisor is too long",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStringExt;

    proptest! {
        #[test]
        fn argv_arrives_as_typed(
            argv in proptest::collection::vec(proptest::collection::vec(1u8.., 0..40), 1..8),
        ) {
            let argv: Vec<OsString> = argv.into_iter().map(OsString::from_vec).collect();
            let exec = Exec::new(&argv).env("A", "b c").cwd("/tmp");
            let (left, right) = UnixStream::pair().expect("pair");
            let request = Request::Exec { node: "client".into(), command: exec.clone().into() };
            send(&left, &request, &[]).expect("send");
            let (request, _) = receive::<Request>(&right).expect("receive").expect("a message");
            let Request::Exec { command, .. } = request else { panic!("another request") };
            prop_assert_eq!(Exec::from(command), exec);
        }
    }

    #[test]
    fn the_end_of_a_connection_is_no_error() {
        let (left, right) = UnixStream::pair().expect("pair");
        drop(left);
        assert!(receive::<Reply>(&right).expect("no error").is_none());
    }

    #[test]
    fn a_false_length_is_refused() {
        let (left, right) = UnixStream::pair().expect("pair");
        (&left).write_all(&u32::MAX.to_le_bytes()).expect("write");
        assert!(receive::<Reply>(&right).is_err());
    }
}
