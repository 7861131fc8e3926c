//! A node, with the few helpers that every test needs.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rapidswap_protocol::{Exec, ExitStatus, Output};
use rapidswap_vm::{Node, Process};

use crate::vmstat::Vmstat;
use crate::wait::TimedOut;

/// A node that runs commands.
pub struct Guest {
    /// The node itself.
    pub node: Node,
}

impl Guest {
    /// Wraps a node.
    pub fn new(node: Node) -> Guest {
        Guest { node }
    }

    /// Runs a command to its end, whatever that is.
    pub fn run(&self, argv: &[&str]) -> Result<Output> {
        let output = self.node.exec(argv);
        output.with_context(|| format!("run `{}`", argv.join(" ")))
    }

    /// Runs a command that must succeed, and returns its standard output.
    pub fn ok(&self, argv: &[&str]) -> Result<String> {
        let output = self.run(argv)?;
        ensure!(
            output.status.success(),
            "`{}`: {}: {}",
            argv.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a shell script that must succeed.
    pub fn sh(&self, script: &str) -> Result<String> {
        self.ok(&["sh", "-ec", script])
    }

    /// Starts a command and lets it run.
    pub fn start<S: AsRef<OsStr>>(&self, argv: &[S]) -> Result<Running> {
        let words: Vec<_> = argv.iter().map(|s| s.as_ref().to_string_lossy()).collect();
        let name = words.join(" ");
        let process = self.node.spawn(Exec::new(argv));
        let process = process.with_context(|| format!("start `{name}`"))?;
        Running::new(name, process)
    }

    /// Copies a program of the host to the node, and returns its path there.
    pub fn install(&self, program: &Path) -> Result<String> {
        let name = program.file_name().context("a program has a name")?;
        let path = Path::new("/run").join(name);
        let mut file = File::open(program)
            .with_context(|| format!("open {}: run `./just build`", program.display()))?;
        self.node.push(&path, 0o755, &mut file)?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// Reads a text file.
    pub fn read(&self, path: &str) -> Result<String> {
        let mut bytes = Vec::new();
        self.node
            .pull(path.as_ref(), &mut bytes)
            .with_context(|| format!("read {path} in the node"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Writes a text to a file of /proc, /sys or debugfs, in one write.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let script = r#"printf %s "$1" > "$0""#;
        self.ok(&["sh", "-ec", script, path, text])
            .with_context(|| format!("write `{text}` to {path}"))
            .map(drop)
    }

    /// The counters of `/proc/vmstat` now.
    pub fn vmstat(&self) -> Result<Vmstat> {
        Ok(Vmstat::parse(&self.read("/proc/vmstat")?))
    }
}

/// A command that runs in a node. Dropped, it is killed.
pub struct Running {
    name: String,
    process: Process,
    stdout: BufReader<File>,
    stderr: JoinHandle<Vec<u8>>,
}

impl Running {
    fn new(name: String, process: Process) -> Result<Running> {
        let stdout = BufReader::new(process.stdout.try_clone()?);
        let mut errors = process.stderr.try_clone()?;
        let stderr = thread::spawn(move || {
            let mut bytes = Vec::new();
            // A stream that breaks shows when the command is waited for.
            let _ = errors.read_to_end(&mut bytes);
            bytes
        });
        Ok(Running {
            name,
            process,
            stdout,
            stderr,
        })
    }

    /// Its process id in the node.
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// The next line it prints.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        if line.is_empty() {
            let status = self.process.wait()?;
            bail!("`{}` ended instead of printing a line: {status}", self.name);
        }
        Ok(line.trim_end().to_owned())
    }

    /// Writes a line to its standard input.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let stdin = self.process.stdin.as_mut().context("no standard input")?;
        writeln!(stdin, "{line}")?;
        Ok(())
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.process.wait_timeout(Duration::ZERO)?)
    }

    /// Signals it.
    pub fn signal(&self, signal: i32) {
        self.process.signal(signal);
    }

    /// Waits for its end, no longer than `limit`, and returns what it printed
    /// since the last line taken.
    pub fn finish(mut self, limit: Duration) -> Result<Output> {
        self.process.stdin = None;
        let Some(status) = self.process.wait_timeout(limit)? else {
            let what = format!("the end of `{}`", self.name);
            return Err(TimedOut { what, limit }.into());
        };
        let mut stdout = Vec::new();
        self.stdout.read_to_end(&mut stdout)?;
        let stderr = self.stderr.join().unwrap_or_default();
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }
}
