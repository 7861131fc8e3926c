//! A client with more than one server.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rapidswap_progress::Reporter;
use rapidswap_tests::guest::Guest;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::proof::prove;
use rapidswap_tests::rapidswap;
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::{guarded, options, scaled};
use rapidswap_vm::{Cluster, Fault, UpOptions};

/// Has two nodes prove their link, in no more than `seconds`; whether it is one.
fn proved(near: &Guest, far: &Guest, address: &str, seconds: &str) -> Result<bool> {
    let ends = prove(near, far, address, &["--deadline", seconds])?;
    Ok(ends.iter().all(|end| end.status.success()))
}

/// How many clients a server has by `status --json`.
fn clients(name: &str, server: &str) -> Result<usize> {
    let output = rapidswap::run(&["--name", name, "status", "--json"])?;
    let json: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let clients = json["servers"][server]["clients"].as_array();
    Ok(clients.with_context(|| format!("{server}: {json}"))?.len())
}

/// What bash offers after these words and the beginning of another.
fn completed(words: &[&str], begun: &str) -> Result<Vec<String>> {
    let script = r#"source <("$0" completions bash)
        COMP_TYPE=9 COMP_WORDS=(rapidswap "$@") COMP_CWORD=$#
        _clap_complete_rapidswap rapidswap "${!#}" ""
        printf '%s\n' "${COMPREPLY[@]}""#;
    let output = Command::new("bash")
        .args(["-c", script])
        .arg(rapidswap::program())
        .args(words)
        .arg(begun)
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().map(str::to_owned).collect())
}

#[test]
fn two_servers_and_a_partition_of_one_pair() -> Result<()> {
    let name = "test-servers";
    let wanted = UpOptions {
        memory_mib: 256,
        cold: true,
        servers: 2,
        server_mib: 64,
        swap: true,
        swap_to: "server2".into(),
        ..options(name)?
    };
    let cluster = Cluster::up(&wanted, &Reporter::auto())?;
    ensure!(cluster.names()? == ["client", "server", "server2"]);
    guarded(cluster, |scene| {
        let offered = completed(&["exec"], "server")?;
        ensure!(offered == ["server", "server2"], "{offered:?}");
        let offered = completed(&["cp"], "server2")?;
        ensure!(offered == ["server2:"], "{offered:?}");
        let (client, server) = (&scene.client, &scene.server);
        let server2 = &Guest::new(scene.cluster.node("server2")?);
        let to_server = scene.listen.ip().to_string();
        let to_server2 = server2.node.status()?.address;
        ensure!((clients(name, "server")?, clients(name, "server2")?) == (0, 1));
        let before = client.vmstat()?;
        let limit = Limit::new(client, 8)?;
        let mut program = limit.start(&[PAGE_PATTERN, "verify", "--mib", "16", "--hold"])?;
        program.line()?;

        let parted = Fault::Partition("client".into(), "server".into());
        scene.cluster.fault(&parted)?;
        ensure!(!proved(client, server, &to_server, "4")?, "not parted");
        ensure!(
            proved(client, server2, &to_server2, "30")?,
            "client and server2"
        );
        ensure!(
            proved(server, server2, &to_server2, "30")?,
            "server and server2"
        );
        program.say("check")?;
        all_right(&program.finish(scaled(Duration::from_secs(60))?)?, 16, 1)?;
        let moved = client.vmstat()?.since(&before).context("counters")?;
        ensure!(moved.stored > 0 && moved.disk_writes == 0, "{moved}");

        scene.cluster.fault(&Fault::Clear)?;
        ensure!(proved(client, server, &to_server, "30")?, "still parted");
        Ok(())
    })?;
    Cluster::attach(name)?.down()?;
    Ok(())
}
