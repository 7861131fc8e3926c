//! A node's kernel seen from outside: QEMU's stub for gdb, the serial console.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use serde_json::json;

use crate::cluster::node::Node;
use crate::cluster::rundir::node_lock;
use crate::console;
use crate::error::{Error, IoContext, Result};

/// A stub that gdb can connect to, until it is dropped.
#[derive(Debug)]
pub struct DebugStub {
    node: Node,
    socket: PathBuf,
    _alone: Flock<File>,
}

impl DebugStub {
    /// The socket that it listens on.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for DebugStub {
    fn drop(&mut self) {
        // A node that is gone has none.
        let _ = self.node.monitor("gdbserver none");
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// A module that a node has loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedModule {
    /// Its file on this host.
    pub file: PathBuf,
    /// Where its code is in the node, in hexadecimal.
    pub text: String,
}

/// The file of a module that a cluster's nodes can load, if there is one.
pub(crate) fn module_file(run_dir: &Path, name: &str) -> Option<PathBuf> {
    let folder = run_dir.join("payload/modules");
    // A file may have hyphens where the name has underscores.
    let files = [name.to_owned(), name.replace('_', "-")];
    let mut files = files.iter().map(|name| folder.join(format!("{name}.ko")));
    files.find(|file| file.exists())
}

impl Node {
    /// Opens a stub for gdb, for one at a time. The node's processors stop when
    /// gdb connects.
    pub fn debug(&self) -> Result<DebugStub> {
        let socket = self.run_dir().join(format!("{}.gdb", self.name()));
        // QEMU has one, and would take it from whoever has it.
        let at_once = FlockArg::LockExclusiveNonblock;
        let alone = node_lock(self.run_dir(), self.name(), "gdb", at_once)?
            .ok_or_else(|| Error::BadOption(format!("somebody else has gdb on {}", self.name())))?;
        let said = self.monitor(&format!(
            "gdbserver unix:{},server=on,wait=off",
            socket.display()
        ))?;
        // It answers with text, and says in it what did not work.
        if !socket.exists() {
            return Err(Error::Supervisor(format!(
                "QEMU opens no stub for gdb: {}",
                said.trim()
            )));
        }
        Ok(DebugStub {
            node: self.clone(),
            socket,
            _alone: alone,
        })
    }

    /// The modules it has loaded, of those that came from this host, if it says
    /// so within `limit`.
    pub fn loaded_modules(&self, limit: Duration) -> Result<Vec<LoadedModule>> {
        // The file is one that has to be read at once.
        let script = "cd /sys/module && for text in */sections/.text; do
            [ ! -e $text ] || echo ${text%%/*} $(cat $text)
        done";
        let said = self.run_within(limit, "looking for modules", ["sh", "-c", script])?;
        let loaded = said.lines().filter_map(|line| {
            let (name, text) = line.split_once(' ')?;
            Some(LoadedModule {
                file: module_file(self.run_dir(), name)?,
                text: text.to_owned(),
            })
        });
        Ok(loaded.collect())
    }

    /// Its serial console, both ways. One at a time can have it.
    pub fn console_stream(&self) -> Result<UnixStream> {
        let chardevs = self.qmp("query-chardev", json!({}))?;
        let mut chardevs = chardevs.as_array().into_iter().flatten();
        let ours = chardevs.find(|chardev| chardev["label"] == console::CHARDEV);
        let is_free = ours.is_some_and(|chardev| {
            let name = chardev["filename"].as_str().unwrap_or_default();
            name.starts_with("disconnected:")
        });
        if !is_free {
            let text = format!("somebody else is at the console of {}", self.name());
            return Err(Error::BadOption(text));
        }
        let socket = console::socket(self.run_dir(), self.name());
        UnixStream::connect(&socket).what(|| format!("cannot open {}", socket.display()))
    }

    /// Gives QEMU's monitor for people a line, and returns what it says.
    fn monitor(&self, line: &str) -> Result<String> {
        let said = self.qmp("human-monitor-command", json!({ "command-line": line }))?;
        Ok(said.as_str().unwrap_or_default().to_owned())
    }
}
