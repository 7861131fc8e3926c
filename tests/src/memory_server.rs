//! `remoteswap-server` in the server node.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::guest::{Guest, Running};
use crate::scene::{Scene, scaled};
use crate::wait::wait_until;

/// Path of the server's program in a node.
pub const MEMORY_SERVER: &str = "/rapidswap/bin/remoteswap-server";
const CONTROL: &str = "/run/remoteswap-test.sock";

/// A server that listens. Dropped, it is killed.
pub struct MemoryServer<'a> {
    guest: &'a Guest,
    process: Running,
    /// The line it printed when it was ready.
    pub ready: String,
}

impl<'a> MemoryServer<'a> {
    /// Starts a server of `mib` MiB and waits until it listens.
    pub fn start(scene: &'a Scene, mib: u64) -> Result<MemoryServer<'a>> {
        Self::start_by(scene, mib, "exec \"$@\"")
    }

    /// The same by a shell script, which gets its command line as arguments.
    pub fn start_by(scene: &'a Scene, mib: u64, script: &str) -> Result<MemoryServer<'a>> {
        let (guest, listen) = (&scene.server, scene.listen.to_string());
        let size = format!("{mib}M");
        let argv = [
            "sh",
            "-c",
            script,
            "sh",
            MEMORY_SERVER,
            "--listen",
            &listen,
            "--size",
            &size,
            "--control",
            CONTROL,
        ];
        // Chunks must fit a small server more than once.
        let mut process = guest.start(&[&argv[..], &["--chunk", "1M"]].concat())?;
        let ready = process.line()?;
        ensure!(ready.starts_with("ready "), "the server said {ready:?}");
        Ok(MemoryServer {
            guest,
            process,
            ready,
        })
    }

    /// Flips one bit of a slot's page in the server's memory.
    pub fn flip(&self, slot: u64) -> Result<()> {
        let answer = self.control(&["flip", &slot.to_string()])?;
        ensure!(answer.trim() == "ok", "flip {slot}: {answer}");
        Ok(())
    }

    /// Sends one command to the server's control socket.
    pub fn control(&self, command: &[&str]) -> Result<String> {
        self.guest
            .ok(&[&[MEMORY_SERVER, "ctl", CONTROL][..], command].concat())
    }

    /// Sends a signal to the server.
    pub fn signal(&self, signal: i32) {
        self.process.signal(signal);
    }

    /// Ends the server, which must have been there until then.
    pub fn stop(self) -> Result<()> {
        self.signal(nix::libc::SIGTERM);
        let limit = scaled(Duration::from_secs(10))?;
        let output = self.process.finish(limit)?;
        ensure!(output.status.success(), "the server: {output:?}");
        Ok(())
    }
}

/// Waits until so many requests to be let in are at a node's connection
/// manager, which the server has not taken from there or not answered.
pub fn asked(server: &Guest, count: usize) -> Result<()> {
    let limit = scaled(Duration::from_secs(30))?;
    wait_until("requests to be let in", limit, || {
        let ids = server.ok(&["rdma", "resource", "show", "cm_id"])?;
        let waiting = ids.lines().filter(|id| id.contains("state CONNECT"));
        Ok((waiting.count() == count).then_some(()))
    })
}
