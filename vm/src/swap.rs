//! Remote swap on a cluster: a memory server on each server node, the module
//! and the swap area on node `client`.

pub(crate) mod activity;
pub(crate) mod counters;
pub mod latency;
pub(crate) mod limit;
pub(crate) mod reading;
pub mod time_v;

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rapidswap_protocol::Exec;

use crate::cluster::Cluster;
use crate::cluster::node::Node;
use crate::cluster::profile::{CLIENT, SERVER};
use crate::cluster::status::Status;
use crate::error::{Error, Result, names};
use crate::wait::wait_until;

pub use crate::swap::counters::{Counters, counters};

/// The server's control socket in its node.
pub const SERVER_CONTROL: &str = "/run/remoteswap.sock";

/// The server's program in its node.
pub const SERVER_PROGRAM: &str = "/rapidswap/bin/remoteswap-server";

/// The module's file in its node.
pub const MODULE: &str = "/rapidswap/modules/remoteswap.ko";

/// Where the modules are in a node.
pub(crate) const MODULES: &str = "/rapidswap/modules";

const SERVER_LOG: &str = "/run/log/remoteswap-server";
const SERVER_PID: &str = "/run/remoteswap-server.pid";
pub(crate) const STATUS: &str = "/sys/kernel/debug/remoteswap/status";
const SELECTED: &str = "/sys/kernel/mm/remote_swap/area";

/// Populating and registering memory takes a while under TCG.
const SERVER_READY: Duration = Duration::from_secs(60);

/// How long the module's first session may take.
const SESSION_UP: Duration = Duration::from_secs(30);

/// How long all pages of an area may take to come back. On a kernel that checks
/// itself one takes milliseconds.
const SWAPOFF: Duration = Duration::from_secs(3600);

/// How long a server may take to give its memory back.
const SERVER_END_S: u32 = 60;

/// How remote swap is turned on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapOptions {
    /// Memory that each server offers, in MiB.
    pub server_mib: u64,
    /// The server that the module uses; the others only offer theirs.
    pub to: String,
    /// Parameters of the module beyond the server's address, as `NAME=VALUE`.
    pub parameters: Vec<String>,
}

impl Default for SwapOptions {
    fn default() -> SwapOptions {
        SwapOptions {
            server_mib: 256,
            to: SERVER.to_owned(),
            parameters: Vec::new(),
        }
    }
}

/// Turns remote swap on: when this returns, pages go to the server.
pub fn on(cluster: &Cluster, options: &SwapOptions) -> Result<()> {
    let status = cluster.status()?;
    let port = status.profile.link.port;
    let client = cluster.known(CLIENT);
    let area = area(&client)?;
    let servers = status.addresses()?.into_iter().skip(1);
    let servers: Vec<_> = servers
        .map(|(name, address)| {
            (
                cluster.known(&name),
                SocketAddrV4::new(address.ip, port.get()),
            )
        })
        .collect();
    let used = servers.iter().find(|(node, _)| node.name() == options.to);
    let (_, used) = *used.ok_or_else(|| Error::UnknownNode {
        node: options.to.clone(),
        known: names(servers.iter().map(|(node, _)| node.name())),
    })?;
    thread::scope(|scope| {
        let serving = servers.iter().map(|(node, listen)| {
            scope.spawn(|| start_server(&status, node, *listen, options.server_mib))
        });
        let serving: Vec<_> = serving.collect();
        prepare_area(&client, &area)?;
        let mut ended = serving.into_iter().map(|one| one.join());
        ended.try_for_each(|one| one.unwrap_or(Err(Error::SupervisorGone)))
    })?;
    insert_module(&client, used, &options.parameters)?;
    client.run("swapon", ["swapon", &area])?;
    wait_for_session(&client, status.scaled(SESSION_UP))
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
    let status = cluster.status()?;
    let client = cluster.known(CLIENT);
    client.run_within(SWAPOFF, "swapoff", ["swapoff", &area(&client)?])?;
    client.run("removing the module", ["rmmod", "remoteswap"])?;
    client.run(
        "clearing the area",
        ["sh", "-c", &format!("echo > {SELECTED}")],
    )?;
    let mut servers = status.nodes.iter().filter(|node| node.name != CLIENT);
    servers.try_for_each(|node| stop_server(&cluster.known(&node.name)))
}

/// Starts the memory server on a node of a cluster; returns when it listens.
pub fn start_server(cluster: &Status, server: &Node, listen: SocketAddrV4, mib: u64) -> Result<()> {
    let (listen, size) = (listen.to_string(), format!("{mib}M"));
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
    let (what, exec) = ("starting remoteswap-server", Exec::new(argv).detach());
    let exec = exec.log("remoteswap-server");
    let mut process = server.step(what, move |server| server.spawn(exec))?;
    let limit = cluster.scaled(SERVER_READY);
    let deadline = Instant::now() + limit;
    let failed = |detail: String| Error::Step {
        what: what.into(),
        node: server.name().into(),
        detail,
    };
    loop {
        // Its end is awaited; its line is looked for meanwhile.
        let ended = process.wait_timeout(Duration::from_millis(20))?;
        let log = match text(server, SERVER_LOG) {
            Err(error @ Error::Hangs { .. }) => return Err(error),
            // There is none yet.
            other => other.unwrap_or_default(),
        };
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
    server.step(what, move |server| {
        server.push(Path::new(SERVER_PID), 0o644, &mut pid.as_bytes())
    })
}

/// Stops the memory server; returns when it is gone.
pub fn stop_server(server: &Node) -> Result<()> {
    let script = format!(
        "pid=$(cat {SERVER_PID}) && kill $pid || exit 1
        timeout {SERVER_END_S} sh -c \"while kill -0 $pid; do sleep 0.02; done\" 2>/dev/null
        ! kill -0 $pid 2>/dev/null || {{ echo it has not ended >&2; exit 1; }}"
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

/// Loads the module with the server's address and further parameters. It
/// connects in the background.
pub fn insert_module(client: &Node, server: SocketAddrV4, parameters: &[String]) -> Result<()> {
    let mut argv: Vec<String> = vec!["insmod".into(), MODULE.into()];
    argv.push(format!("sip={}", server.ip()));
    argv.push(format!("sport={}", server.port()));
    argv.extend_from_slice(parameters);
    client.run("loading remoteswap.ko", argv).map(drop)
}

/// Waits until the module's session with the server is up.
fn wait_for_session(client: &Node, limit: Duration) -> Result<()> {
    let mut state = String::new();
    let up = wait_until(limit, || {
        state = module_status(client)?.remove("state").unwrap_or_default();
        Ok((state == "up").then_some(()))
    })?;
    up.ok_or_else(|| Error::Step {
        what: "connecting to the memory server".into(),
        node: client.name().into(),
        detail: format!("the module is `{state}` after {} s", limit.as_secs()),
    })
}

/// The module's own status, key by key.
pub fn module_status(client: &Node) -> Result<BTreeMap<String, String>> {
    Ok(pairs(&text(client, STATUS)?))
}

pub(crate) fn pairs(text: &str) -> BTreeMap<String, String> {
    let lines = text
        .lines()
        .filter_map(|line| line.trim().split_once(char::is_whitespace));
    lines
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect()
}

pub(crate) fn text(node: &Node, path: &str) -> Result<String> {
    let what = format!("reading {path}");
    let path = PathBuf::from(path);
    let bytes = node.step(&what, move |node| {
        let mut bytes = Vec::new();
        node.pull(&path, &mut bytes).map(|()| bytes)
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
