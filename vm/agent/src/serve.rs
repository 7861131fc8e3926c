//! The loop that serves the host. One thread does everything, so that no
//! request needs memory for a thread, save that another one reads the port:
//! the port itself must not be polled (see [`crate::output`]).

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::pipe2;
use rapidswap_protocol::frame::{Decoder, MAX_FRAME};

use crate::output::Output;
use crate::session::{Session, Slot};
use crate::sys;

/// Small, because a locked stack is all in memory.
pub(crate) const STACK: usize = 64 * 1024;

/// Why the loop ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The host wants the machine off.
    Shutdown,
    /// The stream ended.
    Gone,
}

/// What the end of the stream means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absence {
    /// The host has gone for good.
    Final,
    /// The host has closed its end of a virtio-serial port and may open it
    /// again.
    Passing,
}

/// Serves the host until it wants the machine off or is gone for good.
/// SIGCHLD must be blocked, and the given `signals` as well.
pub(crate) fn serve(
    port: File,
    output: &Output,
    absence: Absence,
    session: &mut Session,
    signals: &[Signal],
) -> io::Result<End> {
    let mut host = read_port(port, output.clone(), absence)?;
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    for signal in signals {
        set.add(*signal);
    }
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let pending = SignalFd::with_flags(&set, flags)?;
    let mut decoder = Decoder::new();
    loop {
        let (ready, due) = (await_events(&host, &pending, session)?, session.due());
        if ready.signals {
            while let Some(signal) = pending.read_signal()? {
                if signal.ssi_signo != Signal::SIGCHLD as u32 {
                    session.end();
                    return Ok(End::Shutdown);
                }
            }
            reap(session);
        }
        if ready.host {
            match host.read(decoder.space()) {
                Ok(0) => {
                    session.end();
                    return Ok(End::Gone);
                }
                Ok(count) => decoder.filled(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            while let Some(frame) = decoder.next_frame() {
                if session.take(frame) {
                    session.end();
                    return Ok(End::Shutdown);
                }
            }
        }
        for slot in &due {
            session.pump(*slot, PollFlags::empty());
        }
        for (slot, events) in ready.slots {
            if !due.contains(&slot) {
                session.pump(slot, events);
            }
        }
        if absence == Absence::Final && output.is_broken() {
            session.end();
            return Ok(End::Gone);
        }
    }
}

struct Ready {
    host: bool,
    signals: bool,
    slots: Vec<(Slot, PollFlags)>,
}

fn await_events(host: &File, pending: &SignalFd, session: &Session) -> io::Result<Ready> {
    let mut files = vec![
        PollFd::new(host.as_fd(), PollFlags::POLLIN),
        PollFd::new(pending.as_fd(), PollFlags::POLLIN),
    ];
    let mut slots = Vec::new();
    for (slot, file, flags) in session.interests() {
        slots.push(slot);
        files.push(PollFd::new(file, flags));
    }
    let timeout = if session.due().is_empty() {
        PollTimeout::NONE
    } else {
        PollTimeout::ZERO
    };
    match poll(&mut files, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut events = files
        .iter()
        .map(|file| file.revents().unwrap_or(PollFlags::empty()));
    let mut next = || events.next().unwrap_or(PollFlags::empty());
    let (host, signals) = (!next().is_empty(), !next().is_empty());
    let slots = slots.into_iter().map(|slot| (slot, next()));
    Ok(Ready {
        host,
        signals,
        slots: slots.filter(|(_, events)| !events.is_empty()).collect(),
    })
}

/// Takes the status of every child that has ended. As PID 1 this includes the
/// orphans of the whole machine.
fn reap(session: &mut Session) {
    while let Some((pid, status)) = sys::reap_child() {
        session.reaped(pid, status);
    }
}

/// Starts the thread that reads the port into a pipe.
fn read_port(mut port: File, output: Output, absence: Absence) -> io::Result<File> {
    let (reader, writer): (OwnedFd, OwnedFd) = pipe2(OFlag::O_CLOEXEC)?;
    let mut pipe = File::from(writer);
    thread::Builder::new()
        .name("port".into())
        .stack_size(STACK)
        .spawn(move || {
            let mut buffer = [0; MAX_FRAME];
            loop {
                match port.read(&mut buffer) {
                    Ok(0) if absence == Absence::Passing => {
                        // No host. This write sleeps until there is one.
                        output.beacon();
                        if output.is_broken() {
                            return;
                        }
                    }
                    Ok(count) => {
                        if count == 0 || pipe.write_all(&buffer[..count]).is_err() {
                            return;
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => return,
                }
            }
        })?;
    Ok(File::from(reader))
}
