//! What the host has asked for and is not done yet.

use std::collections::BTreeMap;
use std::mem;
use std::os::fd::BorrowedFd;

use nix::poll::PollFlags;
use rapidswap_protocol::ExitStatus;
use rapidswap_protocol::frame::{Frame, Kind};
use rapidswap_protocol::message::{self, Failure, Hello, Lane, MAX_EXEC, Settle};

use crate::command::{Command, Surroundings};
use crate::failure::refused;
use crate::files::{Pull, Push};
use crate::output::Output;
use crate::settle::settle;

/// One stream.
enum Task {
    /// A command line of which more frames are to come.
    Request(Vec<u8>),
    Command(Command),
    Push(Push),
    Pull(Pull),
}

/// An open file of a stream, by what it is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    stream: u32,
    lane: Lane,
}

/// All streams of the session with the host.
pub(crate) struct Session {
    output: Output,
    hello: Hello,
    around: Surroundings,
    tasks: BTreeMap<u32, Task>,
}

impl Session {
    pub(crate) fn new(output: Output, hello: Hello, around: Surroundings) -> Session {
        Session {
            output,
            hello,
            around,
            tasks: BTreeMap::new(),
        }
    }

    /// Ends everything that belongs to the session.
    pub(crate) fn end(&mut self) {
        for (_, task) in mem::take(&mut self.tasks) {
            if let Task::Command(command) = task {
                command.abandon();
            }
        }
    }

    /// Acts on a frame. Returns whether the host wants the machine off.
    pub(crate) fn take(&mut self, frame: Frame<'_>) -> bool {
        if frame.kind == Kind::Hello {
            self.end();
            self.output.greet(frame.nonce, &self.hello);
            return false;
        }
        if frame.nonce != self.output.nonce() {
            return false;
        }
        if frame.kind == Kind::Shutdown {
            self.output.send(Kind::Shutdown, 0, &[]);
            return true;
        }
        if let Err(failure) = self.act(frame) {
            self.tasks.remove(&frame.stream);
            self.output.fail(frame.stream, &failure);
        }
        false
    }

    /// A child of this process has ended.
    pub(crate) fn reaped(&mut self, pid: i32, status: ExitStatus) {
        for (&stream, task) in &mut self.tasks {
            match task {
                Task::Command(command) if command.has(pid) => {
                    command.exited(status, stream, &self.output);
                    if command.is_over() {
                        self.tasks.remove(&stream);
                    }
                    return;
                }
                _ => {}
            }
        }
    }

    /// What to poll for.
    pub(crate) fn interests(&self) -> impl Iterator<Item = (Slot, BorrowedFd<'_>, PollFlags)> {
        self.tasks.iter().flat_map(|(&stream, task)| {
            let files = match task {
                Task::Command(command) => [
                    command.stdin.interest().map(|file| (Lane::Stdin, file)),
                    command.stdout.interest().map(|file| (Lane::Stdout, file)),
                    command.stderr.interest().map(|file| (Lane::Stderr, file)),
                ],
                Task::Pull(pull) => [
                    pull.source.interest().map(|file| (Lane::Stdout, file)),
                    None,
                    None,
                ],
                Task::Request(_) | Task::Push(_) => [None, None, None],
            };
            files
                .into_iter()
                .flatten()
                .map(move |(lane, (file, flags))| (Slot { stream, lane }, file, flags))
        })
    }

    /// What to pump whatever poll says.
    pub(crate) fn due(&self) -> Vec<Slot> {
        let mut due = Vec::new();
        for (&stream, task) in &self.tasks {
            if let Task::Command(command) = task {
                let sources = [
                    (Lane::Stdout, &command.stdout),
                    (Lane::Stderr, &command.stderr),
                ];
                let sources = sources.into_iter().filter(|(_, source)| source.is_due());
                due.extend(sources.map(|(lane, _)| Slot { stream, lane }));
            }
        }
        due
    }

    /// Moves bytes of one open file.
    pub(crate) fn pump(&mut self, slot: Slot, events: PollFlags) {
        let Slot { stream, lane } = slot;
        let output = &self.output;
        let over = match self.tasks.get_mut(&stream) {
            Some(Task::Command(command)) => {
                let pumped = match lane {
                    Lane::Stdin => {
                        let gone = events.intersects(PollFlags::POLLERR);
                        command.stdin.pump(stream, output, gone);
                        Ok(())
                    }
                    Lane::Stdout => command.stdout.pump(stream, output),
                    Lane::Stderr => command.stderr.pump(stream, output),
                };
                if pumped.is_err() {
                    output.eof(stream, lane);
                    match lane {
                        Lane::Stderr => command.stderr.close(),
                        _ => command.stdout.close(),
                    }
                }
                command.is_over()
            }
            Some(Task::Pull(pull)) => match pull.pump(stream, output) {
                Ok(done) => done,
                Err(failure) => {
                    output.fail(stream, &failure);
                    true
                }
            },
            _ => false,
        };
        if over {
            self.tasks.remove(&stream);
        }
    }

    fn act(&mut self, frame: Frame<'_>) -> Result<(), Failure> {
        let Frame {
            stream, payload, ..
        } = frame;
        match frame.kind {
            Kind::Exec => return self.exec(frame),
            Kind::Push => {
                let (mode, path) = message::decode_push(payload).ok_or_else(malformed)?;
                let push = Push::start(path, mode, stream)?;
                return self.begin(stream, Task::Push(push));
            }
            Kind::Pull => {
                let pull = Pull::start(message::decode_path(payload))?;
                return self.begin(stream, Task::Pull(pull));
            }
            Kind::Settle => return self.settle(stream, payload),
            Kind::Close => {
                if let Some(Task::Command(command)) = self.tasks.remove(&stream) {
                    command.abandon();
                }
                return Ok(());
            }
            _ => {}
        }
        // A stream that is over here may not be over there yet.
        match self.tasks.get_mut(&stream) {
            Some(Task::Command(command)) => instruct(command, frame, &self.output),
            Some(Task::Push(push)) if frame.kind == Kind::Stdin => {
                push.write(payload, stream, &self.output)
            }
            Some(Task::Push(_)) if frame.kind == Kind::Eof => {
                if let Some(Task::Push(push)) = self.tasks.remove(&stream) {
                    push.finish(stream, &self.output)?;
                }
                Ok(())
            }
            Some(Task::Pull(pull)) if frame.kind == Kind::Credit => {
                let (_, bytes) = message::decode_credit(payload).ok_or_else(malformed)?;
                pull.source.grant(bytes);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn exec(&mut self, frame: Frame<'_>) -> Result<(), Failure> {
        let mut bytes = match self.tasks.remove(&frame.stream) {
            Some(Task::Request(bytes)) => bytes,
            _ => Vec::new(),
        };
        bytes.extend_from_slice(frame.payload);
        if bytes.len() > MAX_EXEC {
            return Err(refused("cannot run a command line that long"));
        }
        if frame.more {
            self.tasks.insert(frame.stream, Task::Request(bytes));
            return Ok(());
        }
        let exec = message::decode_exec(&bytes).ok_or_else(malformed)?;
        let command = Command::start(&exec, &self.around)?;
        command.announce(frame.stream, &self.output);
        self.tasks.insert(frame.stream, Task::Command(command));
        Ok(())
    }

    fn settle(&self, stream: u32, payload: &[u8]) -> Result<(), Failure> {
        if !self.around.init {
            return Err(refused("only the agent of a VM sets its machine's clock"));
        }
        settle(&Settle::decode(payload).ok_or_else(malformed)?)?;
        let (none, done) = (message::encode_number(0), ExitStatus::Code(0));
        self.output.send(Kind::Started, stream, &none);
        let done = message::encode_exit(done);
        self.output.send(Kind::Exit, stream, &done);
        Ok(())
    }

    fn begin(&mut self, stream: u32, task: Task) -> Result<(), Failure> {
        self.output
            .send(Kind::Started, stream, &message::encode_number(0));
        self.tasks.insert(stream, task);
        Ok(())
    }
}

fn instruct(command: &mut Command, frame: Frame<'_>, output: &Output) -> Result<(), Failure> {
    let payload = frame.payload;
    match frame.kind {
        Kind::Stdin => {
            command.stdin.accept(payload);
            command.stdin.pump(frame.stream, output, false);
        }
        Kind::Eof => command.stdin.end(),
        Kind::Signal => command.signal(message::decode_number(payload).ok_or_else(malformed)?),
        Kind::Winsize => command.resize(message::decode_size(payload).ok_or_else(malformed)?),
        Kind::Credit => match message::decode_credit(payload).ok_or_else(malformed)? {
            (Lane::Stdout, bytes) => command.stdout.grant(bytes),
            (Lane::Stderr, bytes) => command.stderr.grant(bytes),
            (Lane::Stdin, _) => {}
        },
        _ => {}
    }
    Ok(())
}

fn malformed() -> Failure {
    refused("the agent does not understand the request; build it from the same sources")
}
