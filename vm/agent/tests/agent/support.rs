//! What the tests share.

use std::io::Read;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rapidswap_protocol::{Agent, Exec, Process};
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// An agent, a directory for files and logs, and the stream between.
pub struct Host {
    pub dir: TempDir,
    pub stream: UnixStream,
    agent: Child,
}

impl Host {
    pub fn start() -> Host {
        let dir = TempDir::new().unwrap();
        let (stream, theirs) = UnixStream::pair().unwrap();
        let input: OwnedFd = theirs.try_clone().unwrap().into();
        let output: OwnedFd = theirs.into();
        let agent = Command::new(env!("CARGO_BIN_EXE_rapidswap-agent"))
            .arg("--stdio")
            .arg("--logs")
            .arg(dir.path().join("logs"))
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(output))
            .spawn()
            .unwrap();
        Host { dir, stream, agent }
    }

    pub fn attach(&self) -> Agent {
        let (reader, writer) = (self.stream.try_clone(), self.stream.try_clone());
        Agent::attach(reader.unwrap(), writer.unwrap(), LIMIT).unwrap()
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub fn kill_agent(&mut self) {
        self.agent.kill().unwrap();
        self.agent.wait().unwrap();
    }

    pub fn wait_for_agent(&mut self) -> ExitStatus {
        self.agent.wait().unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Also ends the reader threads of whoever attached.
        self.stream.shutdown(Shutdown::Both).unwrap();
        self.agent.wait().unwrap();
    }
}

pub const SIGKILL: i32 = 9;
pub const SIGTERM: i32 = 15;

/// Bytes that are no frames, of which any two runs differ.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * index / 7) as u8).collect()
}

pub fn shell(script: &str) -> Exec {
    Exec::new(["sh", "-c", script])
}

/// Reads one line, and not a byte more.
pub fn line(reader: &mut impl Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while reader.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

/// A command that holds a FIFO open while it lives. Reading the returned file
/// ends when it has died.
pub fn start_witnessed(agent: &Agent, fifo: &Path, exec: Exec) -> (Process, std::fs::File) {
    let made = Command::new("mkfifo").arg(fifo).status().unwrap();
    assert!(made.success());
    let process = agent.exec(exec.env("FIFO", fifo)).unwrap();
    let witness = std::fs::File::open(fifo).unwrap();
    (process, witness)
}

pub fn assert_died(mut witness: std::fs::File) {
    assert_eq!(witness.read_to_end(&mut Vec::new()).unwrap(), 0);
}
