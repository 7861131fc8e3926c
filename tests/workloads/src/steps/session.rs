//! A program that takes steps from a test, and tells what came of them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, pipe};
use serde_json::json;

use super::Line;
use super::done::Done;
use super::perform::Performer;
use crate::memory::fork;

/// Does each line that comes, and answers it with what it came to, as JSON, in
/// a line. Besides steps there are:
///
/// - `child STEPS`: has a child do them, and goes on;
/// - `join`: waits for the oldest child, and answers for it;
/// - `repeat STEPS`: does them again and again until the next line comes, which
///   is not looked at, and answers then.
///
/// What cannot be done is answered with an `error`, and is the end.
pub fn serve(performer: &mut Performer, input: &File, mut output: impl Write) -> Result<()> {
    let mut lines = BufReader::new(input);
    let mut children = VecDeque::new();
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        let done = obey(&line, performer, &mut children, &mut lines);
        let answer = match &done {
            Ok(done) => serde_json::to_value(done)?,
            Err(error) => json!({ "error": format!("{error:#}") }),
        };
        writeln!(output, "{answer}")?;
        output.flush()?;
        done?;
        line.clear();
    }
    Ok(())
}

fn obey(
    line: &str,
    performer: &mut Performer,
    children: &mut VecDeque<Child>,
    lines: &mut BufReader<&File>,
) -> Result<Done> {
    let line = line.trim();
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    match verb {
        "child" => {
            children.push_back(Child::start(performer, &rest.parse()?)?);
            Ok(Done::default())
        }
        "join" => children.pop_front().context("no child")?.end(),
        "repeat" => repeat(performer, &rest.parse()?, lines),
        _ => performer.perform(&line.parse()?),
    }
}

fn repeat(performer: &mut Performer, steps: &Line, lines: &mut BufReader<&File>) -> Result<Done> {
    let mut done = Done::default();
    while lines.buffer().is_empty() && !waits(lines.get_ref())? {
        done.add(performer.perform(steps)?);
        done.rounds += 1;
    }
    lines.read_line(&mut String::new())?;
    Ok(done)
}

/// Whether there is something to read, the end included.
fn waits(input: &File) -> Result<bool> {
    let mut polled = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut polled, PollTimeout::ZERO)? > 0)
}

/// A child that does steps.
struct Child {
    pid: Pid,
    said: File,
}

impl Child {
    fn start(performer: &mut Performer, steps: &Line) -> Result<Child> {
        let (from_child, to_parent) = pipe()?;
        match fork().context("fork")? {
            ForkResult::Child => {
                drop(from_child);
                let code = match answer(performer, steps, File::from(to_parent)) {
                    Ok(()) => 0,
                    Err(error) => {
                        eprintln!("page-pattern: {error:#}");
                        2
                    }
                };
                // Not through main: its output is the parent's to print.
                std::process::exit(code);
            }
            ForkResult::Parent { child } => Ok(Child {
                pid: child,
                said: File::from(from_child),
            }),
        }
    }

    fn end(self) -> Result<Done> {
        let said = io::read_to_string(self.said)?;
        match waitpid(self.pid, None)? {
            WaitStatus::Exited(_, 0) => serde_json::from_str(&said).context("the child's report"),
            status => bail!("the child ended early: {status:?}"),
        }
    }
}

fn answer(performer: &mut Performer, steps: &Line, to_parent: File) -> Result<()> {
    Ok(serde_json::to_writer(
        to_parent,
        &performer.perform(steps)?,
    )?)
}
