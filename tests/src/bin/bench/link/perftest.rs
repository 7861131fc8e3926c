//! Programs of perftest, which measure the link between the nodes.

use std::time::Duration;

use anyhow::{Result, bail};
use rapidswap_tests::guest::Guest;
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
        let mut last = String::new();
        let address = scene.listen.ip().to_string();
        for attempt in 0..TRIES {
            let (port, count) = ((18515 + attempt).to_string(), self.iterations.to_string());
            let arguments = ["-F", "-d", "rxe0", "-m", "4096", "-s", "4096"];
            let chosen = ["-n", &count, "-p", &port];
            let listening = [&[self.program][..], &arguments, self.options, &chosen].concat();
            let server = scene.server.start(&listening)?;
            wait_for_listener(&scene.server, &port)?;
            let client = scene
                .client
                .start(&[&listening[..], &[&address[..]]].concat())?;
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
