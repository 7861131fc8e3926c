//! Files on their way between host and node.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use rapidswap_protocol::ExitStatus;
use rapidswap_protocol::frame::Kind;
use rapidswap_protocol::message::{self, Failure, Lane, WINDOW};

use crate::failure::{failed, refused};
use crate::lanes::Source;
use crate::output::Output;

/// A file on its way into the node, under another name until it is complete:
/// so a running program can be replaced, and nobody sees half a file.
pub(crate) struct Push {
    file: File,
    path: PathBuf,
    partial: PathBuf,
    mode: u32,
    owed: u32,
}

impl Push {
    pub(crate) fn start(path: PathBuf, mode: u32, stream: u32) -> Result<Push, Failure> {
        if path.is_dir() {
            let message = format!("cannot write {}: it is a directory", path.display());
            return Err(refused(&message));
        }
        let Some(name) = path.file_name() else {
            return Err(refused("cannot write a file without a name"));
        };
        let mut partial = OsString::from(".");
        partial.push(name);
        partial.push(format!(".{}-{stream}", std::process::id()));
        let partial = path.with_file_name(partial);
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial);
        let file = opened.map_err(|error| writing(&path, &error))?;
        Ok(Push {
            file,
            path,
            partial,
            mode,
            owed: 0,
        })
    }

    pub(crate) fn write(
        &mut self,
        bytes: &[u8],
        stream: u32,
        output: &Output,
    ) -> Result<(), Failure> {
        self.file
            .write_all(bytes)
            .map_err(|error| writing(&self.path, &error))?;
        self.owed += bytes.len() as u32;
        if self.owed >= WINDOW / 2 {
            let credit = message::encode_credit(Lane::Stdin, std::mem::take(&mut self.owed));
            output.send(Kind::Credit, stream, &credit);
        }
        Ok(())
    }

    /// The host has sent all of it.
    pub(crate) fn finish(self, stream: u32, output: &Output) -> Result<(), Failure> {
        self.file
            .set_permissions(Permissions::from_mode(self.mode & 0o7777))
            .and_then(|()| fs::rename(&self.partial, &self.path))
            .map_err(|error| writing(&self.path, &error))?;
        output.send(
            Kind::Exit,
            stream,
            &message::encode_exit(ExitStatus::Code(0)),
        );
        Ok(())
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        // Absent if the push was finished.
        let _ = fs::remove_file(&self.partial);
    }
}

/// A file on its way to the host.
pub(crate) struct Pull {
    pub(crate) source: Source,
    path: PathBuf,
}

impl Pull {
    pub(crate) fn start(path: PathBuf) -> Result<Pull, Failure> {
        // Files such as trace_pipe have no end; they must not stop the agent.
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(&path);
        let file = opened.map_err(|error| reading(&path, &error))?;
        Ok(Pull {
            source: Source::new(file, Lane::Stdout),
            path,
        })
    }

    /// Sends the next part; whether it was the last.
    pub(crate) fn pump(&mut self, stream: u32, output: &Output) -> Result<bool, Failure> {
        self.source
            .pump(stream, output)
            .map_err(|error| reading(&self.path, &error))?;
        let done = self.source.is_ended();
        if done {
            output.send(
                Kind::Exit,
                stream,
                &message::encode_exit(ExitStatus::Code(0)),
            );
        }
        Ok(done)
    }
}

fn writing(path: &Path, error: &std::io::Error) -> Failure {
    failed(format_args!("write {}", path.display()), error)
}

fn reading(path: &Path, error: &std::io::Error) -> Failure {
    failed(format_args!("read {}", path.display()), error)
}
