//! The kernel modules on the client.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::guest::Guest;
use crate::scene::{Scene, scaled};
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

/// Loads the RDMA module for a server, with parameters beyond its address.
pub fn load_for(guest: &Guest, server: SocketAddrV4, parameters: &[&str]) -> Result<()> {
    let sip = format!("sip={}", server.ip());
    let sport = format!("sport={}", server.port());
    insmod(
        guest,
        "remoteswap",
        &[&[&*sip, &*sport], parameters].concat(),
    )
}

/// Loads it for the server of the profile, and waits until its session is up.
pub fn connect(scene: &Scene) -> Result<()> {
    connect_with(scene, &["rmsize=0"])
}

/// Likewise, with parameters beyond the address.
pub fn connect_with(scene: &Scene, parameters: &[&str]) -> Result<()> {
    load_for(&scene.client, scene.listen, parameters)?;
    wait_for_state(&scene.client, "up", scaled(CONNECT)?)
}

/// A number in the module's status.
pub fn count(guest: &Guest, name: &str) -> Result<u64> {
    let status = status(guest)?;
    let count = status
        .get(name)
        .with_context(|| format!("no {name} in the module's status"))?;
    count
        .parse()
        .with_context(|| format!("{name} of the module's status"))
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

/// How often each stage was timed, by the module's account of the times.
pub fn timed(guest: &Guest) -> Result<BTreeMap<String, u64>> {
    counted(guest, &format!("{DEBUGFS}/histograms"))
}

/// The same by the kernel's, since boot.
pub fn timed_by_kernel(guest: &Guest) -> Result<BTreeMap<String, u64>> {
    counted(guest, "/sys/kernel/debug/remote_swap/latency")
}

fn counted(guest: &Guest, histograms: &str) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for line in guest.read(histograms)?.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let &[stage, _, _, count] = &words[..] else {
            bail!("`{line}` is not a bucket");
        };
        *counts.entry(stage.to_owned()).or_insert(0) += count.parse::<u64>()?;
    }
    Ok(counts)
}

/// A stage's count and percentiles as the module's own summary has them.
pub fn summary(guest: &Guest, stage: &str) -> Result<Vec<u64>> {
    let text = guest.read(&format!("{DEBUGFS}/latency"))?;
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    let line = lines.find_map(|mut words| (words.next() == Some(stage)).then_some(words));
    let numbers = line.with_context(|| format!("no stage {stage}: {text}"))?;
    numbers
        .map(|word| word.parse().with_context(|| format!("{stage}: {text}")))
        .collect()
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
