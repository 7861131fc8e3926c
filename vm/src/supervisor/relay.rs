//! A switch in the way of two nodes that are joined directly. It is there only
//! while something is asked of it.
//!
//! QEMU looks its peer's socket up by its path for every packet. The relay's
//! socket takes the place of the node's own in one rename, and gives it back
//! in another, so that no packet finds the path empty and QEMU knows nothing.

use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use nix::fcntl::{RenameFlags, renameat2};

use super::switch::{Port, Switch, socket};
use crate::error::{IoContext, Result};
use crate::fault::LinkFaults;

/// A relay between all nodes of a cluster. Dropped, it is out of the way.
pub(super) struct Relay {
    /// Sockets of nodes whose place it has taken.
    places: Vec<PathBuf>,
    switch: Option<Switch>,
}

impl Relay {
    /// Puts a relay between `nodes`, in the order of their stations.
    pub(super) fn insert(run: &Path, nodes: &[String], faults: LinkFaults) -> Result<Relay> {
        let mut relay = Relay {
            places: Vec::new(),
            switch: None,
        };
        let mut ports = Vec::new();
        for node in nodes {
            let path = socket(run, node);
            let port = take(node, &path).what(|| format!("cannot relay {}", path.display()))?;
            // From here on the relay is in the way, and its drop undoes it.
            relay.places.push(path);
            ports.push(port);
        }
        relay.switch = Some(Switch::start(ports, faults)?);
        Ok(relay)
    }

    /// Changes what it does to packets.
    pub(super) fn set(&self, faults: LinkFaults) {
        if let Some(switch) = &self.switch {
            switch.set(faults);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for path in &self.places {
            // The run directory may be on its way out with everything in it.
            let _ = exchange(path, &aside(path));
        }
        drop(self.switch.take());
        for path in &self.places {
            let _ = fs::remove_file(aside(path));
        }
    }
}

/// Takes the place of a node's socket.
fn take(node: &str, path: &Path) -> io::Result<Port> {
    let ours = UnixDatagram::bind(aside(path))?;
    let port = Port::new(node, path, ours).and_then(|port| {
        // Later the path leads to the relay itself.
        port.require_node()?;
        exchange(path, &aside(path))?;
        Ok(port)
    });
    port.inspect_err(|_| {
        let _ = fs::remove_file(aside(path));
    })
}

/// Where a node's own socket is while the relay has its place.
fn aside(path: &Path) -> PathBuf {
    path.with_extension("direct")
}

fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    Ok(renameat2(None, a, None, b, RenameFlags::RENAME_EXCHANGE)?)
}
