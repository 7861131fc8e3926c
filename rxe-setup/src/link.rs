//! `rxe-setup link`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rapidswap_cli::{print, say};
use rapidswap_verbs::devices;
use serde::Serialize;

use crate::cli::{Kind, Link};
use crate::sysfs::{Port, ROOT, gid_of, ports};

/// Active MTU with which a page is one packet.
const PAGE_MTU: u32 = 4096;
/// Interface MTU that makes it so: a page and all headers.
const PAGE_NETDEV_MTU: u32 = 4200;
/// How often the state of a port is looked at.
const POLL: Duration = Duration::from_millis(10);

/// What was brought up.
#[derive(Debug, Serialize)]
struct Report<'a> {
    device: &'a str,
    port: u8,
    netdev: &'a str,
    state: &'a str,
    active_mtu: u32,
    gid: String,
    seconds: f64,
}

/// Brings the link up and says what it is.
pub fn run(options: &Link) -> Result<()> {
    let start = Instant::now();
    let deadline = start + Duration::from_secs(options.deadline);
    let netdev = options.dev.as_str();
    if !Path::new("/sys/class/net").join(netdev).is_dir() {
        bail!("no network interface {netdev}: `ip link` shows those there are");
    }
    ip(&commands(options))?;
    let port = match find(options)? {
        Some(port) => port,
        None => add(options)?,
    };
    let gid = wait_ready(options, &port, deadline)?;
    let active_mtu = active_mtu(&port)?;
    check_mtu(options, active_mtu)?;
    let report = Report {
        device: &port.device,
        port: port.port,
        netdev,
        state: "ACTIVE",
        active_mtu,
        gid,
        seconds: start.elapsed().as_secs_f64(),
    };
    print(serde_json::to_string(&report)?)?;
    say(format_args!(
        "{} port {} on {netdev}: active, MTU {active_mtu}, GID {}",
        report.device, report.port, report.gid
    ));
    Ok(())
}

/// The `ip` commands that make the interface what it should be. Each changes
/// nothing where it is so already.
fn commands(options: &Link) -> Vec<String> {
    let dev = &options.dev;
    // The MTU first: a soft device takes its own from it as it is added.
    let mtu = options
        .mtu
        .map(|mtu| format!("link set dev {dev} mtu {mtu}"));
    let addr = options.addr;
    let addr = addr.map(|addr| format!("address replace {addr} dev {dev}"));
    let up = format!("link set dev {dev} up");
    mtu.into_iter().chain(addr).chain([up]).collect()
}

/// Runs `ip` commands in one process, up to the first that fails.
fn ip(commands: &[String]) -> Result<()> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run `ip`: install iproute2")?;
    if let Some(mut input) = child.stdin.take() {
        // One that has ended already says why itself.
        let _ = input.write_all(commands.join("\n").as_bytes());
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let (why, line) = stderr
        .split_once("Command failed -:")
        .unwrap_or((&stderr, ""));
    let line = line
        .trim()
        .parse()
        .ok()
        .and_then(|line: usize| commands.get(line.checked_sub(1)?));
    bail!(
        "`ip {}` failed: {}",
        line.map_or("-batch -", |line| line),
        one_line(why)
    )
}

fn tool(program: &str, arguments: &[String]) -> Result<()> {
    let line = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run `{line}`: install iproute2"))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    bail!("`{line}` failed: {}", one_line(&stderr))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The port that is meant, if there is one. A device's first port is taken
/// where none of them is known to send through the interface.
fn find(options: &Link) -> Result<Option<Port>> {
    let ports = ports(Path::new(ROOT)).context("cannot list RDMA devices")?;
    choose(ports, options, Port::is_on)
}

fn choose(
    mut ports: Vec<Port>,
    options: &Link,
    is_on: impl Fn(&Port, &str) -> bool,
) -> Result<Option<Port>> {
    if let Some(device) = &options.device {
        ports.retain(|port| port.device == *device);
        if ports.is_empty() {
            bail!("no RDMA device {device}: `rdma link` shows those there are");
        }
    }
    let on = ports.iter().position(|port| is_on(port, &options.dev));
    let any = options.device.as_ref().map(|_| 0);
    Ok(on.or(any).map(|index| ports.swap_remove(index)))
}

fn add(options: &Link) -> Result<Port> {
    let netdev = &options.dev;
    let kind = match options.kind {
        Kind::Rxe => "rxe",
        Kind::Siw => "siw",
        Kind::Existing => bail!(
            "no RDMA device on {netdev}: load the adapter's driver (mlx4_ib, mlx5_ib), or use --kind rxe"
        ),
    };
    let name = free_name(kind)?;
    let arguments = ["link", "add", &name, "type", kind, "netdev", netdev].map(str::to_owned);
    tool("rdma", &arguments).map_err(|error| {
        anyhow!(
            "{error}; the kernel needs RDMA_{}",
            kind.to_ascii_uppercase()
        )
    })?;
    find(options)?.ok_or_else(|| anyhow!("{name} was added and is not there: see the kernel log"))
}

fn free_name(kind: &str) -> Result<String> {
    let taken = ports(Path::new(ROOT)).context("cannot list RDMA devices")?;
    (0..)
        .map(|n| format!("{kind}{n}"))
        .find(|name| taken.iter().all(|port| port.device != *name))
        .context("no name left for a device")
}

/// Waits until the port is active and has a GID for the address.
fn wait_ready(options: &Link, port: &Port, deadline: Instant) -> Result<String> {
    loop {
        let state = port.state().unwrap_or_else(|_| "gone".to_owned());
        let gids = port.gids().unwrap_or_default();
        let wanted = options.addr.map(|addr| gid_of(addr.ip));
        // On iWARP a GID is the adapter's own, on InfiniBand the port's.
        let any = options.kind != Kind::Rxe || wanted.is_none();
        let gid = if any {
            gids.first()
        } else {
            gids.iter().find(|gid| Some(**gid) == wanted)
        };
        match gid {
            Some(gid) if state == "ACTIVE" => return Ok(gid.to_string()),
            _ if Instant::now() < deadline => std::thread::sleep(POLL),
            Some(_) => bail!(
                "{} port {} is {state} and not ACTIVE after {} s: is {}'s link up?",
                port.device,
                port.port,
                options.deadline,
                options.dev
            ),
            None => bail!(
                "{} port {} has no GID for its address after {} s: is the address on {}?",
                port.device,
                port.port,
                options.deadline,
                options.dev
            ),
        }
    }
}

fn active_mtu(port: &Port) -> Result<u32> {
    let devices = devices()?;
    let device = devices.iter().find(|device| device.name() == port.device);
    let device = device.with_context(|| {
        format!(
            "user space cannot open {}: install ibverbs-providers",
            port.device
        )
    })?;
    Ok(device.port(port.port)?.active_mtu)
}

fn check_mtu(options: &Link, active_mtu: u32) -> Result<()> {
    if active_mtu >= PAGE_MTU {
        return Ok(());
    }
    let what = format!("active MTU is {active_mtu} and a page is {PAGE_MTU}");
    match options.kind {
        Kind::Rxe => bail!(
            "{what}: give {} an MTU of {PAGE_NETDEV_MTU} or more",
            options.dev
        ),
        // A byte stream under siw; on InfiniBand the subnet manager decides.
        Kind::Siw => {}
        Kind::Existing => say(format_args!(
            "rxe-setup: {what}: pages will take several packets"
        )),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(addr: Option<&str>, mtu: Option<u32>, kind: Kind) -> Link {
        let addr = addr.map(|a| a.parse().unwrap());
        Link {
            dev: "eth0".into(),
            addr,
            mtu,
            kind,
            device: None,
            deadline: 1,
        }
    }

    #[test]
    fn ip_commands() {
        assert_eq!(
            commands(&link(Some("10.77.0.1/24"), Some(4200), Kind::Rxe)),
            [
                "link set dev eth0 mtu 4200",
                "address replace 10.77.0.1/24 dev eth0",
                "link set dev eth0 up"
            ]
        );
        assert_eq!(
            commands(&link(None, None, Kind::Existing)),
            ["link set dev eth0 up"]
        );
    }

    #[test]
    fn the_command_that_fails_is_named() {
        let show = |dev: &str| format!("link show dev {dev}");
        ip(&[show("lo")]).unwrap();
        let error = ip(&[show("lo"), show("no-such-netdev"), show("lo")]).unwrap_err();
        let error = error.to_string();
        assert!(
            error.starts_with("`ip link show dev no-such-netdev` failed: "),
            "{error}"
        );
        assert!(error.contains("does not exist"), "{error}");
    }

    #[test]
    fn a_device_is_taken_by_its_name() {
        let root = tempfile::tempdir().unwrap();
        for port in ["mlx4_0/ports/1", "mlx5_0/ports/1", "mlx5_0/ports/2"] {
            std::fs::create_dir_all(root.path().join(port)).unwrap();
        }
        let found = |device: Option<&str>, on: Option<u8>| {
            let mut options = link(None, None, Kind::Existing);
            options.device = device.map(str::to_owned);
            let is_on = |port: &Port, _: &str| port.device == "mlx5_0" && Some(port.port) == on;
            let port = choose(ports(root.path()).unwrap(), &options, is_on);
            port.map(|port| port.map(|port| (port.device, port.port)))
        };
        let mlx5 = |port| Some(("mlx5_0".to_owned(), port));
        assert_eq!(found(None, Some(2)).unwrap(), mlx5(2));
        assert_eq!(found(None, None).unwrap(), None);
        // Over InfiniBand no port is on an interface.
        assert_eq!(found(Some("mlx5_0"), None).unwrap(), mlx5(1));
        assert_eq!(found(Some("mlx5_0"), Some(2)).unwrap(), mlx5(2));
        assert!(found(Some("mlx6_0"), None).is_err());
    }

    #[test]
    fn small_packets_are_an_error_only_where_they_can_be_helped() {
        let error = check_mtu(&link(None, None, Kind::Rxe), 1024).unwrap_err();
        assert_eq!(
            error.to_string(),
            "active MTU is 1024 and a page is 4096: give eth0 an MTU of 4200 or more"
        );
        check_mtu(&link(None, None, Kind::Rxe), 4096).unwrap();
        check_mtu(&link(None, None, Kind::Siw), 1024).unwrap();
        check_mtu(&link(None, None, Kind::Existing), 2048).unwrap();
    }

    #[test]
    fn an_interface_that_is_not_there() {
        let mut options = link(None, None, Kind::Rxe);
        options.dev = "no-such-netdev".into();
        let error = run(&options).unwrap_err().to_string();
        assert!(
            error.starts_with("no network interface no-such-netdev"),
            "{error}"
        );
    }
}
