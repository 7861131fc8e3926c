//! Programs of perftest, which measure the link between the nodes.

use std::time::Duration;

use anyhow::{Result, bail};
use rapidswap_tests::guest::Guest;
use rapidswap_tests::rdma_port::RdmaPort;
use rapidswap_tests::scene::Scene;
use rapidswap_tests::wait::wait_until;

/// They now and then hang, or find their port still in use.
const TRIES: u16 = 4;
const LIMIT: Duration = Duration::from_secs(60);

/// A program of perftest, and which number of it is wanted.
pub struct Perftest {
    program: &'static str,
    iterations: usize,
    options: &'static [&'static str],
    result: fn(&str) -> Option<f64>,
}

impl Perftest {
    /// One with a page an operation.
    pub fn new(
        program: &'static str,
        iterations: usize,
        result: fn(&str) -> Option<f64>,
    ) -> Perftest {
        Perftest {
            program,
            iterations,
            options: &[],
            result,
        }
    }

    /// With options beyond those that all take.
    pub fn with(self, options: &'static [&'static str]) -> Perftest {
        Perftest { options, ..self }
    }

    /// One run between the nodes, tried again with a new port when it hangs
    /// or breaks off.
    pub fn run(&self, scene: &Scene) -> Result<f64> {
        let profile = scene.cluster.status()?.profile;
        let here = RdmaPort::of(&scene.client, &profile)?;
        let there = RdmaPort::of(&scene.server, &profile)?;
        let by_manager = connects_by_manager(&scene.client, &here)?;
        let mut last = String::new();
        let address = scene.listen.ip().to_string();
        for attempt in 0..TRIES {
            let port = (18515 + attempt).to_string();
            let server = scene.server.start(&self.line(&there, &port, by_manager))?;
            wait_for_listener(&scene.server, &port)?;
            let connecting = [self.line(&here, &port, by_manager), vec![address.clone()]].concat();
            let client = scene.client.start(&connecting)?;
            match client.finish(LIMIT) {
                Ok(output) => {
                    let text = String::from_utf8_lossy(&output.stdout).into_owned();
                    if let Some(value) = (self.result)(&text) {
                        return Ok(value);
                    }
                    last = format!("{}: {text}", output.status);
                }
                Err(error) => last = format!("{error:#}"),
            }
            // Dropped, the server is killed.
            drop(server);
        }
        let program = self.program;
        bail!("{program} gave no result in {TRIES} tries, the last: {last}")
    }

    /// How it is called in a node whose end of the link is `end`.
    fn line(&self, end: &RdmaPort, port: &str, by_manager: bool) -> Vec<String> {
        let (index, count) = (end.port.to_string(), self.iterations.to_string());
        let end = ["-d", &end.device, "-i", &index];
        let arguments = ["-F", "-m", "4096", "-s", "4096", "-n", &count, "-p", port];
        let manager: &[&str] = if by_manager { &["-R"] } else { &[] };
        let line = [&[self.program][..], &end, &arguments, self.options, manager].concat();
        line.into_iter().map(str::to_owned).collect()
    }
}

/// Whether a device connects by its connection manager alone, as iWARP does.
fn connects_by_manager(node: &Guest, end: &RdmaPort) -> Result<bool> {
    let path = format!("/sys/class/infiniband/{}/node_type", end.device);
    Ok(node.read(&path)?.contains("RNIC"))
}

fn wait_for_listener(guest: &Guest, port: &str) -> Result<()> {
    let hex = format!(":{:04X} ", port.parse::<u16>()?);
    wait_until("perftest to listen", Duration::from_secs(20), || {
        let tables =
            guest.read("/proc/net/tcp")? + &guest.read("/proc/net/tcp6").unwrap_or_default();
        let listens = |line: &&str| line.contains(&hex) && line.contains(" 0A ");
        Ok(tables.lines().find(listens).map(drop))
    })
}
