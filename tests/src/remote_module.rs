//! The kernel modules on the client.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::guest::Guest;
use crate::memory_server::{ADDRESS, PORT};
use crate::scene::scaled;
use crate::wait::wait_until;

const DEBUGFS: &str = "/sys/kernel/debug/remoteswap";

/// How long a module may take until its session is up.
pub const CONNECT: Duration = Duration::from_secs(30);

/// Loads a module from the shared directory. The error is what `insmod` said.
pub fn insmod(guest: &Guest, module: &str, parameters: &[&str]) -> Result<()> {
    let path = format!("/rapidswap/modules/{module}.ko");
    guest
        .ok(&[&["insmod", &path][..], parameters].concat())
        .map(drop)
}

/// Unloads a module that must be free.
pub fn rmmod(guest: &Guest, module: &str) -> Result<()> {
    guest.ok(&["rmmod", module]).map(drop)
}

/// Loads the RDMA module for the server at its usual address, and waits until
/// its session is up.
pub fn connect(guest: &Guest) -> Result<()> {
    connect_with(guest, &["rmsize=0"])
}

/// Likewise, with parameters beyond the address.
pub fn connect_with(guest: &Guest, parameters: &[&str]) -> Result<()> {
    let (sip, sport) = (format!("sip={ADDRESS}"), format!("sport={PORT}"));
    insmod(
        guest,
        "remoteswap",
        &[&[&*sip, &*sport], parameters].concat(),
    )?;
    wait_for_state(guest, "up", scaled(CONNECT)?)
}

/// Waits until the module's session is in `state`.
pub fn wait_for_state(guest: &Guest, state: &str, limit: Duration) -> Result<()> {
    wait_until(&format!("state {state} of remoteswap"), limit, || {
        let status = status(guest)?;
        Ok((status.get("state").map(String::as_str) == Some(state)).then_some(()))
    })
}

/// The module's own account of itself.
pub fn status(guest: &Guest) -> Result<BTreeMap<String, String>> {
    let text = guest.read(&format!("{DEBUGFS}/status"))?;
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    Ok(pairs
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect())
}

/// Has the module READ `count` pages one after the other on its live session,
/// and returns how long each took, in nanoseconds.
pub fn selftest(guest: &Guest, count: usize) -> Result<Vec<u64>> {
    let file = format!("{DEBUGFS}/selftest");
    guest.write(&file, &count.to_string())?;
    let text = guest.read(&file)?;
    text.lines()
        .map(|line| {
            let parsed = line.trim().parse();
            parsed.with_context(|| format!("selftest printed {line:?}"))
        })
        .collect()
}
