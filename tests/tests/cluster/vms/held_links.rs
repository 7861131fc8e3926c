//! Connections that are held, to see after a while whether the link is still there.

use std::time::Duration;

use anyhow::{Result, ensure};
use rapidswap_protocol::ExitStatus;
use rapidswap_tests::guest::Running;
use rapidswap_tests::scene::{Scene, on_cluster, scaled};
use rapidswap_vm::Fault;
use serde_json::Value;

/// How long a round may take between adapters.
const ROUND: Duration = Duration::from_secs(10);

const REPORTS: [&str; 2] = ["/run/test-held-first", "/run/test-held-second"];

/// Two ends that hold a connection.
struct Held {
    listens: Running,
    connected: Running,
}

impl Held {
    fn new(scene: &Scene) -> Result<Held> {
        let at = format!("{}:9501", scene.listen.ip());
        let seconds = scaled(ROUND)?.as_secs().to_string();
        let half = ["/rapidswap/bin/rxe-setup", "hold", "--deadline", &seconds];
        let [first, second] = REPORTS;
        let client = &scene.client;
        client.sh(&format!("rm -f {first} {second}; mkfifo {first} {second}"))?;
        let listens = [&half[..], &["--listen", &at]].concat();
        let connects = [&half[..], &["--connect", &at, "--reports", first, second]].concat();
        let held = Held {
            listens: scene.server.start(&listens)?,
            connected: client.start(&connects)?,
        };
        let said: Value = serde_json::from_str(&client.ok(&["cat", first])?)?;
        ensure!(said["ok"] == true && said["reads"] == 1, "{said}");
        Ok(held)
    }
}

#[test]
fn what_is_held_moves_another_page_when_asked() -> Result<()> {
    on_cluster(|scene| {
        let mut held = Held::new(scene)?;
        ensure!(held.connected.ended()?.is_none() && held.listens.ended()?.is_none());
        let said: Value = serde_json::from_str(&scene.client.ok(&["cat", REPORTS[1]])?)?;
        ensure!(
            said["ok"] == true && said["bytes_compared"] == 16384,
            "{said}"
        );
        for end in [held.connected, held.listens] {
            let end = end.finish(scaled(ROUND)?)?;
            ensure!(end.status.success(), "{end:?}");
        }
        Ok(())
    })
}

#[test]
fn what_is_held_says_that_the_link_is_gone() -> Result<()> {
    on_cluster(|scene| {
        let held = Held::new(scene)?;
        let node = || "server".to_owned();
        scene.cluster.fault(&Fault::Link {
            node: node(),
            up: false,
        })?;
        let said = scene.client.ok(&["cat", REPORTS[1]]);
        scene.cluster.fault(&Fault::Link {
            node: node(),
            up: true,
        })?;
        let said = said?;
        ensure!(
            said.contains("work request failed") || said.contains("does not answer"),
            "{said}"
        );
        let connected = held.connected.finish(scaled(2 * ROUND)?)?;
        ensure!(connected.status == ExitStatus::Code(1), "{connected:?}");
        // Nothing comes for it, and it waits without a deadline.
        held.listens.signal(nix::libc::SIGTERM);
        held.listens.finish(scaled(ROUND)?).map(drop)
    })
}
