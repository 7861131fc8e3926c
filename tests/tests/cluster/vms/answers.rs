//! A node that does not answer holds nobody up who set a limit.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rapidswap_tests::rapidswap;
use rapidswap_tests::scene::on_cluster;

#[test]
fn a_command_on_a_paused_node_is_ended() -> Result<()> {
    on_cluster(|scene| {
        let name = scene.cluster.name();
        let command = [
            "--name",
            name,
            "exec",
            "--timeout",
            "1s",
            "client",
            "--",
            "true",
        ];
        scene.client.node.pause()?;
        let start = Instant::now();
        let answer = rapidswap::run(&command);
        scene.client.node.resume()?;
        let answer = answer?;
        ensure!(answer.status.code() == Some(124), "{answer:?}");
        ensure!(start.elapsed() < Duration::from_secs(60));
        Ok(())
    })
}
