//! Carries out what clients ask for, each connection on a thread of its own.

use std::fs::File;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use nix::libc::SIGKILL;
use rapidswap_protocol::{Agent, Error as AgentError, Exec, Handle, WindowSize};

use super::guest::Guest;
use super::{Event, Shared, faults};
use crate::cluster::request::{self, Control, Reply, Request};
use crate::cluster::status::{Gone, Status};
use crate::console;
use crate::error::Error;

/// Takes connections for as long as the supervisor lives.
pub(super) fn accept(listener: &UnixListener, shared: &Arc<Shared>, events: &Sender<Event>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // Nothing tells when there are descriptors again.
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        let (shared, events) = (Arc::clone(shared), events.clone());
        // Without a thread the connection is dropped, which the client sees.
        let _ = thread::Builder::new()
            .name("request".into())
            .spawn(move || serve(&stream, &shared, &events));
    }
}

fn serve(stream: &UnixStream, shared: &Shared, events: &Sender<Event>) {
    let Ok(Some((request, fds))) = request::receive::<Request>(stream) else {
        return;
    };
    let fds = fds.into_iter().map(File::from);
    if let Some(reply) = answer(request, fds.collect(), stream, shared, events) {
        // A client that is gone does not want to know.
        let _ = request::send(stream, &reply, &[]);
    }
}

/// The last reply; `None` where somebody else gives it.
fn answer(
    request: Request,
    fds: Vec<File>,
    stream: &UnixStream,
    shared: &Shared,
    events: &Sender<Event>,
) -> Option<Reply> {
    let on = |name: &str, act: &mut dyn FnMut(&Guest) -> Result<Option<Reply>, Error>| match shared
        .known(name)
    {
        Ok(guest) => act(guest).unwrap_or_else(|error| Some(failure(shared, name, error))),
        Err(error) => Some(failure(shared, name, error)),
    };
    let mut fds = fds.into_iter();
    match request {
        Request::Status => Some(Reply::Status(Box::new(status(shared)))),
        Request::Names => {
            let names = shared.guests.iter().map(|guest| guest.name.clone());
            Some(Reply::Names(names.collect()))
        }
        Request::Down => {
            let client = OwnedFd::from(stream.try_clone().ok()?);
            let _ = events.send(Event::Down(client.into()));
            None
        }
        Request::Fault(fault) => Some(match faults::inject(fault, shared, events) {
            Ok(()) => Reply::Done,
            Err(error) => failure(shared, "", error),
        }),
        Request::Qmp {
            node,
            command,
            arguments,
            until,
        } => on(&node, &mut |guest| {
            let (qmp, arguments) = (guest.qmp()?, arguments.clone());
            let value = match &until {
                Some((event, limit)) => qmp.execute_until(&command, arguments, event, *limit),
                None => qmp.execute(&command, arguments),
            };
            Ok(Some(Reply::Value(value?)))
        }),
        Request::Exec { node, command } => {
            let (Some(stdin), Some(stdout), Some(stderr)) = (fds.next(), fds.next(), fds.next())
            else {
                return Some(Reply::Failed("a command needs three pipes".into()));
            };
            let exec = Exec::from(command);
            let mut pipes = Some((stdin, stdout, stderr));
            on(&node, &mut |guest| {
                let Some((stdin, stdout, stderr)) = pipes.take() else {
                    return Ok(None);
                };
                let pipes = Pipes {
                    stdin,
                    stdout,
                    stderr,
                };
                command_to_its_end(&guest.agent()?, exec.clone(), pipes, stream)
            })
        }
        Request::Push { node, path, mode } => {
            let Some(pipe) = fds.next() else {
                return Some(Reply::Failed("a push needs a pipe".into()));
            };
            let mut data = Pushed { pipe, stream };
            on(&node, &mut |guest| {
                guest.agent()?.push(&path, mode, &mut data)?;
                Ok(Some(Reply::Done))
            })
        }
        Request::Pull { node, path } => {
            let Some(mut pipe) = fds.next() else {
                return Some(Reply::Failed("a pull needs a pipe".into()));
            };
            on(&node, &mut |guest| {
                guest.agent()?.pull(&path, &mut pipe)?;
                Ok(Some(Reply::Done))
            })
        }
    }
}

fn status(shared: &Shared) -> Status {
    let mut status = shared
        .status
        .lock()
        .unwrap_or_else(|e| e.into_inner())
        .clone();
    status.link_faults = shared.links.faults();
    status.nodes = shared.guests.iter().map(|guest| guest.status()).collect();
    let consoles = status.nodes.iter().map(|node| &node.console);
    status.splats = consoles
        .filter_map(|path| console::scan(path).ok())
        .map(|scan| scan.splats.len())
        .sum();
    status
}

/// What a client is told of an error that has to do with `node`.
fn failure(shared: &Shared, node: &str, error: Error) -> Reply {
    let gone = |node: &str, reason: &dyn Fn(&Guest) -> Gone| match shared.known(node) {
        Ok(guest) => guest.gone_reply(reason(guest)),
        Err(error) => Reply::Failed(error.to_string()),
    };
    match error {
        Error::NodeGone {
            node,
            outcome,
            reason,
            ..
        } => gone(&node, &|_| Gone {
            outcome,
            reason: reason.clone(),
        }),
        Error::UnknownNode { node, known } => Reply::UnknownNode { node, known },
        Error::Host(_) => Reply::Remote {
            errno: 0,
            message: error.to_string(),
        },
        Error::Agent(AgentError::Gone) => gone(node, &Guest::why_gone),
        Error::Agent(AgentError::Remote { errno, message }) => Reply::Remote { errno, message },
        Error::Agent(AgentError::Local { action, source }) => {
            Reply::Failed(format!("cannot {action}: {source}"))
        }
        other => Reply::Failed(other.to_string()),
    }
}

/// The far ends of a command's standard streams.
struct Pipes {
    stdin: File,
    stdout: File,
    stderr: File,
}

/// Runs a command; its streams have threads of their own, so that none waits
/// for another.
fn command_to_its_end(
    agent: &Agent,
    exec: Exec,
    pipes: Pipes,
    stream: &UnixStream,
) -> Result<Option<Reply>, Error> {
    let detached = exec.detach;
    let mut process = agent.exec(exec)?;
    let started = Reply::Started { pid: process.pid() };
    if request::send(stream, &started, &[]).is_err() {
        // Dropping the process kills it.
        return Ok(None);
    }
    let handle = process.handle();
    let (mut from, mut stdin) = (pipes.stdin, process.stdin.take());
    // Not joined: it ends when the client closes its end of the pipe.
    thread::spawn(move || {
        if let Some(stdin) = &mut stdin {
            // A command that does not read its input is no error.
            let _ = io::copy(&mut from, stdin);
        }
    });
    let outputs = [
        (process.stdout.clone(), pipes.stdout),
        (process.stderr.clone(), pipes.stderr),
    ];
    thread::scope(|scope| {
        for (mut from, mut to) in outputs {
            scope.spawn(move || {
                if io::copy(&mut from, &mut to).is_err() {
                    drop(to);
                    // Nobody reads it any more, but the command may go on.
                    let _ = io::copy(&mut from, &mut io::sink());
                }
            });
        }
        scope.spawn(move || follow(stream, &handle, detached));
        let status = process.wait();
        if let Ok(status) = status {
            let _ = request::send(stream, &Reply::exited(status), &[]);
        }
        // Ends the thread that follows the client.
        let _ = stream.shutdown(Shutdown::Read);
        status.map(|_| None).map_err(Error::from)
    })
}

/// Does what the client says until it leaves, which ends a command that is
/// not meant to stay.
fn follow(stream: &UnixStream, handle: &Handle, detached: bool) {
    while let Ok(Some((control, _))) = request::receive(stream) {
        match control {
            Control::Signal(signal) => handle.signal(signal),
            Control::Resize(rows, cols) => handle.resize(WindowSize { rows, cols }),
            Control::Complete => {}
        }
    }
    if !detached {
        // Does nothing to a command that has ended.
        handle.signal(SIGKILL);
    }
}

/// A file on its way in: the end of the pipe is the end of the file only if
/// the client says so, else the client was killed half-way.
struct Pushed<'a> {
    pipe: File,
    stream: &'a UnixStream,
}

impl Read for Pushed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.pipe.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        match request::receive(self.stream)? {
            Some((Control::Complete, _)) => Ok(0),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
