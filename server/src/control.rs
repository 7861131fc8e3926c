//! The control socket: lines of text, an answer line for each.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::server::Server;

/// How long `ctl` waits for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A control command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Invert one bit in a slot's page.
    Flip(u64),
    /// Say how things are.
    Stats,
}

impl Command {
    /// Reads a line.
    pub fn parse(line: &str) -> Result<Command, &'static str> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["stats"] => Ok(Command::Stats),
            ["flip", slot] => slot
                .parse()
                .map(Command::Flip)
                .map_err(|_| "slot is not a number"),
            _ => Err("unknown command: there are `flip SLOT` and `stats`"),
        }
    }
}

/// The socket; removed when this is dropped.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
}

impl Control {
    /// Serves `server` on a socket at `path`, in threads of its own.
    pub fn serve(path: &Path, server: Arc<Mutex<Server>>) -> io::Result<Control> {
        // A socket nobody answers on is what a killed server left behind.
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another server answers there",
            ));
        }
        match std::fs::symlink_metadata(path) {
            Ok(meta) if std::os::unix::fs::FileTypeExt::is_socket(&meta.file_type()) => {
                std::fs::remove_file(path)?;
            }
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || answer(&stream, &server));
            }
        });
        Ok(Control {
            path: path.to_owned(),
        })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn answer(stream: &UnixStream, server: &Mutex<Server>) {
    let mut out = stream;
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        let text = match Command::parse(&line) {
            Ok(command) => execute(command, server),
            Err(error) => format!("error {error}"),
        };
        if writeln!(out, "{text}").is_err() {
            return;
        }
    }
}

fn execute(command: Command, server: &Mutex<Server>) -> String {
    let server = server.lock().unwrap_or_else(PoisonError::into_inner);
    match command {
        Command::Flip(slot) => match server.flip(slot) {
            Ok(()) => "ok".to_owned(),
            Err(error) => format!("error {error}"),
        },
        Command::Stats => {
            serde_json::to_string(&server.stats()).unwrap_or_else(|error| format!("error {error}"))
        }
    }
}

/// Sends one command to the server behind `path`; its answer line.
pub fn ask(path: &Path, command: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    writeln!(stream, "{command}")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    match line.trim_end() {
        "" => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no answer")),
        answer => Ok(answer.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        assert_eq!(Command::parse("flip 12"), Ok(Command::Flip(12)));
        assert_eq!(Command::parse(" stats "), Ok(Command::Stats));
        for line in ["", "flip", "flip -1", "flip x", "flip 1 2", "stop"] {
            assert!(Command::parse(line).is_err(), "{line}");
        }
    }
}
