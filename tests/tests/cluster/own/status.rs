//! What is said of a cluster, from its beginning to its end.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use rapidswap_progress::Reporter;
use rapidswap_tests::rapidswap;
use rapidswap_tests::scene::{guarded, options};
use rapidswap_vm::{Cluster, Fault, UpOptions};

#[test]
fn logs_follow_until_the_end_and_status_has_all_there_is() -> Result<()> {
    let name = "test-status";
    let wanted = UpOptions {
        swap: true,
        ..options(name)?
    };
    let cluster = Cluster::up(&wanted, &Reporter::auto())?;
    let mut logs = rapidswap::command(&["--name", name, "logs", "-f", "server"])
        .stdout(Stdio::piped())
        .spawn()?;
    // Open to the end: what follows a log ends when nobody reads it.
    let mut lines = BufReader::new(logs.stdout.take().context("piped")?).lines();
    guarded(cluster, |scene| {
        scene.server.sh("echo '<0>a line of ours' > /dev/kmsg")?;
        let found = lines.find(|line| {
            line.as_ref()
                .is_ok_and(|line| line.contains("line of ours"))
        });
        ensure!(found.is_some(), "the line did not come");

        let status = || rapidswap::run(&["--name", name, "status", "--json"]);
        let json: serde_json::Value = serde_json::from_slice(&status()?.stdout)?;
        ensure!(
            json["nodes"][0]["link_up"] == true && json["name"] == name,
            "{json}"
        );
        ensure!(json["counters"]["pages_stored"] == 0, "{json}");
        ensure!(json["module"]["state"] == "up", "{json}");
        ensure!(
            json["servers"]["server"]["clients"][0]["capacity_bytes"] == 256 << 20,
            "{json}"
        );
        let text = rapidswap::run(&["--name", name, "status"])?;
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        ensure!(
            text.contains("session  up") && text.contains("serving  256.0 MiB from server"),
            "{text}"
        );

        // Asked while a node stands still, it does not stand still as well.
        scene.cluster.fault(&Fault::Pause("client".into()))?;
        let json: serde_json::Value = serde_json::from_slice(&status()?.stdout)?;
        scene.cluster.fault(&Fault::Clear)?;
        ensure!(
            json["nodes"][0]["state"] == "paused" && json["counters"].is_null(),
            "{json}"
        );
        Ok(())
    })?;
    Cluster::attach(name)?.down()?;
    ensure!(
        logs.wait()?.success(),
        "logs -f did not end with the cluster"
    );
    Ok(())
}
