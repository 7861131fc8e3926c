//! A program in a node that does with its memory what a test says
//! (`page-pattern steps`).

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rapidswap_protocol::Output;
use serde::Deserialize;

use crate::arrangement::Arrangement;
use crate::guest::Running;
use crate::limit::Limit;
use crate::reports::{PAGE_PATTERN, Position, parse};
use crate::scene::scaled;
use crate::wait::wait_until;

/// Bytes in a page.
const PAGE: u64 = 4096;

/// How long the program may take to end.
const END: Duration = Duration::from_secs(30);

/// How long its pages may take to move.
const MOVED: Duration = Duration::from_secs(60);

/// What kind of memory the program has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Private anonymous memory.
    Anonymous,
    /// Shared anonymous memory.
    Common,
    /// A file of a tmpfs.
    File,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Anonymous => "anonymous",
            Kind::Common => "common",
            Kind::File => "file",
        })
    }
}

/// What a line of steps came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Done {
    /// Bytes compared.
    pub bytes_verified: u64,
    /// Bytes that were wrong.
    pub corrupt_bytes: u64,
    /// The first of them.
    pub corrupt: Vec<Position>,
    /// Pages that were zero where they need not have been.
    pub zero_pages: u64,
    /// Pages in memory, the swap cache included.
    pub resident: u64,
    /// Pages in swap alone.
    pub swapped: u64,
    /// Pages that are unmapped and in the swap cache.
    pub cached: u64,
    /// The slot of the first page that has one.
    pub first_slot: Option<u64>,
    /// Pages of the file.
    pub allocated: u64,
    /// Times that a line was repeated.
    pub rounds: u64,
    /// Missing pages that the handler of faults gave, from its beginning on.
    pub missing: u64,
    /// Writes to protected pages that it allowed.
    pub protected: u64,
}

impl Done {
    /// Every byte of so many pages was compared, and right.
    pub fn right(&self, pages: u64) -> Result<()> {
        ensure!(
            self.corrupt_bytes == 0,
            "{} corrupt bytes, the first at {:?}",
            self.corrupt_bytes,
            self.corrupt
        );
        let verified = self.bytes_verified;
        ensure!(
            verified == pages * PAGE,
            "{verified} bytes verified instead of {pages} pages"
        );
        Ok(())
    }
}

/// The program. Dropped, it is killed.
pub struct Steps {
    program: Running,
    /// A line that has no answer yet.
    pending: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Error { error: String },
    Done(Done),
}

impl Steps {
    /// Starts it with `mib` MiB, under a limit, on CPU 0.
    pub fn start(limit: &Limit<'_>, mib: u64, kind: Kind) -> Result<Steps> {
        Steps::start_on(limit, "0", mib, kind)
    }

    /// Starts it on these CPUs, for instance `0-3`.
    pub fn start_on(limit: &Limit<'_>, cpus: &str, mib: u64, kind: Kind) -> Result<Steps> {
        let (mib, kind) = (mib.to_string(), kind.to_string());
        let command = [PAGE_PATTERN, "steps", "--mib", &mib, "--kind", &kind];
        Ok(Steps {
            program: limit.start_on(cpus, &command)?,
            pending: String::new(),
        })
    }

    /// Has it do a line.
    pub fn run(&mut self, line: &str) -> Result<Done> {
        self.begin(line)?;
        self.answer()
    }

    /// Has it do a line in which so many pages are compared, and must be right.
    pub fn check(&mut self, line: &str, pages: u64) -> Result<Done> {
        let done = self.run(line)?;
        done.right(pages).with_context(|| format!("`{line}`"))?;
        Ok(done)
    }

    /// Has it begin a line.
    pub fn begin(&mut self, line: &str) -> Result<()> {
        self.pending = line.to_owned();
        self.program.say(line)
    }

    /// Waits for the end of what was begun.
    pub fn answer(&mut self) -> Result<Done> {
        let what = || format!("`{}`", self.pending);
        match parse(&self.program.line().with_context(what)?)? {
            Answer::Done(done) => Ok(done),
            Answer::Error { error } => bail!("`{}`: {error}", self.pending),
        }
    }

    /// Ends what is repeated.
    pub fn stop(&mut self) -> Result<Done> {
        self.program.say("stop")?;
        self.answer()
    }

    /// Whether it still runs, which it does until it is told to end.
    pub fn still_runs(&mut self) -> Result<()> {
        match self.program.ended()? {
            None => Ok(()),
            Some(status) => bail!("`{}`: {status}", self.pending),
        }
    }

    /// Waits until so many pages have gone out and so many have come in, while
    /// it runs.
    pub fn moves(&mut self, swap: &Arrangement<'_>, pages: u64) -> Result<()> {
        let before = swap.moved()?;
        wait_until("loads and stores", scaled(MOVED)?, || {
            self.still_runs()?;
            let moved = swap.moved()?;
            let enough =
                moved.loaded >= before.loaded + pages && moved.stored >= before.stored + pages;
            Ok(enough.then_some(()))
        })
    }

    /// Ends it.
    pub fn end(self) -> Result<()> {
        let Output { status, stderr, .. } = self.program.finish(scaled(END)?)?;
        let said = String::from_utf8_lossy(&stderr);
        ensure!(status.success(), "{status}: {said}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: &str = r#"{"bytes_verified":8192,"corrupt_bytes":0,"corrupt":[],"zero_pages":0,
        "resident":0,"swapped":0,"cached":0,"allocated":0,"rounds":0,"missing":0,"protected":0}"#;

    #[test]
    fn an_answer_is_right_for_its_pages_only() {
        let Answer::Done(done) = parse(RIGHT).expect("an answer") else {
            panic!("not an error");
        };
        assert!(done.right(2).is_ok() && done.right(1).is_err());
        let wrong = Done {
            corrupt_bytes: 1,
            ..done
        };
        assert!(wrong.right(2).is_err());
    }

    #[test]
    fn an_error_is_told_apart() {
        let answer = parse(r#"{"error":"no step `nap`"}"#).expect("an answer");
        assert!(matches!(answer, Answer::Error { error } if error.contains("nap")));
    }
}
