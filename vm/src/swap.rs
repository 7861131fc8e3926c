//! Remote swap on a cluster: the memory server on node `server`, the module
//! and the swap area on node `client`.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rapidswap_protocol::Exec;
use serde::Serialize;

use crate::cluster::{Cluster, wait_until};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::profile::Profile;

/// The server's control socket in its node.
pub const SERVER_CONTROL: &str = "/run/remoteswap.sock";

/// The server's program in its node.
pub const SERVER_PROGRAM: &str = "/rapidswap/bin/remoteswap-server";

/// The module's file in its node.
pub const MODULE: &str = "/rapidswap/modules/remoteswap.ko";

const SERVER_LOG: &str = "/run/log/remoteswap-server";
const SERVER_PID: &str = "/run/remoteswap-server.pid";
const STATUS: &str = "/sys/kernel/debug/remoteswap/status";
const SELECTED: &str = "/sys/kernel/mm/remote_swap/area";

/// How long populating and registering memory may take on a host.
const SERVER_READY: Duration = Duration::from_secs(15);

/// How long the module's first session may take.
const SESSION_UP: Duration = Duration::from_secs(30);

/// How remote swap is turned on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapOptions {
    /// Memory the server offers, in MiB.
    pub server_mib: u64,
}

impl Default for SwapOptions {
    fn default() -> SwapOptions {
        SwapOptions { server_mib: 256 }
    }
}

/// Turns remote swap on: when this returns, pages go to the server.
pub fn on(cluster: &Cluster, options: &SwapOptions) -> Result<()> {
    let profile = cluster.status()?.profile;
    let server = cluster.node("server")?;
    let client = cluster.node("client")?;
    let area = area(&client)?;
    thread::scope(|scope| {
        let serving = scope.spawn(|| start_server(&server, &profile, options.server_mib));
        prepare_area(&client, &area)?;
        serving.join().unwrap_or(Err(Error::SupervisorGone))
    })?;
    insert_module(&client, &profile)?;
    client.run("swapon", ["swapon", &area])?;
    wait_for_session(&client)
}

/// The device that a client swaps to.
pub fn area(client: &Node) -> Result<String> {
    let area = client.status()?.swap_area;
    let area = area.and_then(|path| path.to_str().map(str::to_owned));
    area.ok_or_else(|| Error::Step {
        what: "looking for the swap device".into(),
        node: client.name().into(),
        detail: "it has none".into(),
    })
}

/// Turns remote swap off again: swap area, module, server, in this order.
pub fn off(cluster: &Cluster) -> Result<()> {
    let client = cluster.node("client")?;
    client.run("swapoff", ["swapoff", &area(&client)?])?;
    client.run("removing the module", ["rmmod", "remoteswap"])?;
    client.run(
        "clearing the area",
        ["sh", "-c", &format!("echo > {SELECTED}")],
    )?;
    stop_server(&cluster.node("server")?)
}

/// Starts the memory server; returns when it listens.
pub fn start_server(server: &Node, profile: &Profile, mib: u64) -> Result<()> {
    let (ip, port) = (profile.node.server.address.ip, profile.link.port);
    let (listen, size) = (format!("{ip}:{port}"), format!("{mib}M"));
    let argv = [
        SERVER_PROGRAM,
        "--listen",
        &listen,
        "--size",
        &size,
        "--control",
        SERVER_CONTROL,
    ];
    // The log of an earlier one must not be mistaken for this one's.
    server.run("clearing the server's log", ["rm", "-f", SERVER_LOG])?;
    let mut process = server.spawn(Exec::new(argv).detach().log("remoteswap-server"))?;
    let limit = profile.scaled(SERVER_READY);
    let deadline = Instant::now() + limit;
    let failed = |detail: String| Error::Step {
        what: "starting remoteswap-server".into(),
        node: server.name().into(),
        detail,
    };
    loop {
        // Its end is awaited; its line is looked for meanwhile.
        let ended = process.wait_timeout(Duration::from_millis(20))?;
        let log = text(server, SERVER_LOG).unwrap_or_default();
        let said = || log.lines().map(str::trim).collect::<Vec<_>>().join("; ");
        if let Some(status) = ended {
            return Err(failed(format!("{status}: {}", said())));
        }
        if log.lines().any(|line| line.starts_with("ready ")) {
            break;
        }
        if Instant::now() >= deadline {
            return Err(failed(format!(
                "not ready within {} s: {}",
                limit.as_secs(),
                said()
            )));
        }
    }
    let pid = process.pid().to_string();
    server.push(Path::new(SERVER_PID), 0o644, &mut pid.as_bytes())
}

/// Stops the memory server; returns when it is gone.
pub fn stop_server(server: &Node) -> Result<()> {
    let script = format!(
        "pid=$(cat {SERVER_PID}) && kill $pid && while kill -0 $pid 2>/dev/null; do sleep 0.02; done"
    );
    server
        .run("stopping remoteswap-server", ["sh", "-c", &script])
        .map(drop)
}

/// What the memory server says of itself, as one JSON object.
pub fn server_stats(server: &Node) -> Result<serde_json::Value> {
    let what = "asking remoteswap-server";
    let said = server.run(what, [SERVER_PROGRAM, "ctl", SERVER_CONTROL, "stats"])?;
    serde_json::from_str(&said).map_err(|_| Error::Step {
        what: what.into(),
        node: server.name().into(),
        detail: format!("it said `{}`", said.trim()),
    })
}

/// Makes the swap area and selects it for the remote backend.
pub fn prepare_area(client: &Node, area: &str) -> Result<()> {
    // Soft-RoCE takes its packets' memory without waiting for reclaim, so
    // some has to be free while reclaim goes on.
    let script = format!(
        "echo 32768 > /proc/sys/vm/min_free_kbytes && mkswap {area} && printf %s {area} > {SELECTED}"
    );
    client
        .run("making the swap area", ["sh", "-c", &script])
        .map(drop)
}

/// Loads the module with the server's address. It connects in the background.
pub fn insert_module(client: &Node, profile: &Profile) -> Result<()> {
    let (sip, sport) = (
        format!("sip={}", profile.node.server.address.ip),
        format!("sport={}", profile.link.port),
    );
    client
        .run("loading remoteswap.ko", ["insmod", MODULE, &sip, &sport])
        .map(drop)
}

/// Waits until the module's session with the server is up.
pub fn wait_for_session(client: &Node) -> Result<()> {
    let mut state = String::new();
    let up = wait_until(SESSION_UP, || {
        state = module_status(client)?.remove("state").unwrap_or_default();
        Ok((state == "up").then_some(()))
    })?;
    up.ok_or_else(|| Error::Step {
        what: "connecting to the memory server".into(),
        node: client.name().into(),
        detail: format!("the module is `{state}` after {} s", SESSION_UP.as_secs()),
    })
}

/// The module's own status, key by key.
pub fn module_status(client: &Node) -> Result<BTreeMap<String, String>> {
    Ok(pairs(&text(client, STATUS)?))
}

/// Pages moved since the client booted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Stored remotely.
    pub pages_stored: u64,
    /// Stores that failed after they had been posted.
    pub stores_failed: u64,
    /// Of attached areas, written to the swap device instead.
    pub disk_writes: u64,
    /// Loaded remotely.
    pub pages_loaded: u64,
    /// Loads that failed.
    pub loads_failed: u64,
    /// Loads refused because the page is lost.
    pub loads_lost: u64,
    /// Written to any swap device.
    pub device_out: u64,
    /// Read from any swap device.
    pub device_in: u64,
}

/// The client's counters.
pub fn counters(cluster: &Cluster) -> Result<Counters> {
    let stat = text(&cluster.node("client")?, "/proc/vmstat")?;
    parse_counters(&stat).map_err(|missing| Error::Step {
        what: "reading /proc/vmstat".into(),
        node: "client".into(),
        detail: format!("no `{missing}` there: is this the patched kernel?"),
    })
}

fn parse_counters(stat: &str) -> Result<Counters, &'static str> {
    let pairs = pairs(stat);
    let get = |key: &'static str| pairs.get(key).and_then(|v| v.parse().ok()).ok_or(key);
    Ok(Counters {
        pages_stored: get("rswpout")?,
        stores_failed: get("rswpout_fail")?,
        disk_writes: get("rswpout_disk")?,
        pages_loaded: get("rswpin")?,
        loads_failed: get("rswpin_fail")?,
        loads_lost: get("rswpin_lost")?,
        device_out: get("pswpout")?,
        device_in: get("pswpin")?,
    })
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    let lines = text
        .lines()
        .filter_map(|line| line.trim().split_once(char::is_whitespace));
    lines
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect()
}

fn text(node: &Node, path: &str) -> Result<String> {
    let mut bytes = Vec::new();
    node.pull(Path::new(path), &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_come_from_vmstat() {
        let stat = "nr_free_pages 1\npswpin 8\npswpout 7\nrswpout 1\nrswpout_fail 2\n\
                    rswpout_disk 3\nrswpin 4\nrswpin_fail 5\nrswpin_lost 6\n";
        let counters = parse_counters(stat).expect("complete");
        assert_eq!(counters.pages_stored, 1);
        assert_eq!(counters.disk_writes, 3);
        assert_eq!(counters.device_in, 8);
        assert_eq!(parse_counters("pswpin 1\n"), Err("rswpout"));
    }
}
