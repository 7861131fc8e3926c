//! The agent in each node: runs commands and moves files for the host.
//!
//! As PID 1 of a VM it mounts the file systems, serves the host on a
//! virtio-serial port, reaps orphans and powers the machine off. Elsewhere
//! `rapidswap-agent --stdio [--logs DIR]` serves it on standard input and
//! output, for example below an `ssh`.

mod boot;
mod command;
mod failure;
mod files;
mod lanes;
mod mounts;
mod output;
mod poweroff;
mod serve;
mod session;
mod settle;
mod sys;
mod uevents;

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};
use rapidswap_protocol::message::{Hello, VERSION};

use crate::command::Surroundings;
use crate::output::Output;
use crate::serve::{Absence, serve};
use crate::session::Session;

const LOGS: &str = "/run/log";

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let arguments: Vec<_> = arguments
        .iter()
        .map(|argument| argument.as_os_str())
        .collect();
    let stdio = OsStr::new("--stdio");
    let ended = match arguments.as_slice() {
        [first] if *first == stdio => serve_stdio(LOGS.into()),
        [first, second, logs] if *first == stdio && *second == "--logs" => {
            serve_stdio(PathBuf::from(logs))
        }
        // The kernel passes on what it does not understand on its command
        // line; none of it is meant for the agent.
        _ if std::process::id() == 1 => serve_machine(),
        _ => Err("usage: rapidswap-agent --stdio [--logs DIR], or as PID 1 of a VM".into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("rapidswap-agent: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The life of PID 1. It ends with the machine; its return is a panic of the
/// kernel, which shows the message.
fn serve_machine() -> Result<(), String> {
    let booted = boot::boot()?;
    let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGPWR];
    block(&signals).map_err(|e| format!("cannot block signals: {e}"))?;
    poweroff::obey_signals(&signals, serve::STACK)
        .map_err(|e| format!("cannot start a thread: {e}"))?;
    fs::write("/proc/self/oom_score_adj", "-1000")
        .map_err(|e| format!("cannot exempt the agent from the OOM killer: {e}"))?;
    let writer = booted.port.try_clone();
    let writer = writer.map_err(|e| format!("cannot copy the agent's port: {e}"))?;
    let output = Output::new(writer);
    let around = Surroundings {
        logs: LOGS.into(),
        init: true,
    };
    let mut session = Session::new(output.clone(), hello(booted.notes), around);
    match serve(booted.port, &output, Absence::Passing, &mut session, &[]) {
        Ok(serve::End::Shutdown) => Err(format!("cannot power off: {}", poweroff::power_off())),
        Ok(serve::End::Gone) => Err("the agent's port is broken".into()),
        Err(error) => Err(format!("cannot serve the host: {error}")),
    }
}

fn serve_stdio(logs: PathBuf) -> Result<(), String> {
    let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
    block(&signals).map_err(|e| format!("cannot block signals: {e}"))?;
    let (reader, writer) = take_stdio().map_err(|e| format!("cannot take over stdio: {e}"))?;
    let output = Output::new(writer);
    let around = Surroundings { logs, init: false };
    let mut session = Session::new(output.clone(), hello(String::new()), around);
    serve(reader, &output, Absence::Final, &mut session, &signals)
        .map(drop)
        .map_err(|e| format!("cannot serve the host: {e}"))
}

fn hello(notes: String) -> Hello {
    Hello {
        version: VERSION,
        pid: std::process::id(),
        notes,
    }
}

/// SIGCHLD is waited for, not handled, and so are the given ones.
fn block(signals: &[Signal]) -> io::Result<()> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    for signal in signals {
        set.add(*signal);
    }
    set.thread_block()?;
    Ok(())
}

/// Moves standard input and output out of the way of whatever might print.
fn take_stdio() -> io::Result<(File, File)> {
    let (input, output) = (io::stdin(), io::stdout());
    let reader: OwnedFd = std::os::fd::AsFd::as_fd(&input).try_clone_to_owned()?;
    let writer: OwnedFd = std::os::fd::AsFd::as_fd(&output).try_clone_to_owned()?;
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    nix::unistd::dup2(null.as_raw_fd(), input.as_raw_fd())?;
    nix::unistd::dup2(null.as_raw_fd(), output.as_raw_fd())?;
    Ok((File::from(reader), File::from(writer)))
}
