//! What a user asks of a running cluster.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rapidswap_progress::Reporter;
use rapidswap_tests::rapidswap;
use rapidswap_tests::scene::{guarded, on_cluster, options};
use rapidswap_vm::{Cluster, Fault, UpOptions};

#[test]
fn a_command_that_takes_too_long_is_ended() -> Result<()> {
    on_cluster(|scene| {
        let name = scene.cluster.name();
        let within = |timeout: &str, command: &[&str]| {
            let start = Instant::now();
            let exec = ["--name", name, "exec", "--timeout", timeout, "client", "--"];
            let output = rapidswap::run(&[&exec[..], command].concat())?;
            Ok::<_, anyhow::Error>((output, start.elapsed()))
        };
        let (output, took) = within("1s", &["sleep", "1000"])?;
        ensure!(output.status.code() == Some(124), "{output:?}");
        ensure!(took < Duration::from_secs(5), "{took:?}");
        // One that does not listen is killed.
        let stubborn = [
            "sh",
            "-c",
            "trap '' TERM; echo on; while :; do sleep 1; done",
        ];
        let (output, took) = within("1s", &stubborn)?;
        ensure!(output.status.code() == Some(124), "{output:?}");
        ensure!(output.stdout == b"on\n" && took < Duration::from_secs(15));
        // In time, it is as if there were no limit.
        let (output, _) = within("1m", &["sh", "-c", "exit 7"])?;
        ensure!(output.status.code() == Some(7), "{output:?}");
        // And a node that does not answer at all does not hold anybody up.
        scene.client.node.pause()?;
        let answer = within("1s", &["true"]);
        scene.client.node.resume()?;
        ensure!(answer?.0.status.code() == Some(124));
        Ok(())
    })
}

#[test]
fn files_are_copied_in_out_and_between() -> Result<()> {
    on_cluster(|scene| {
        let name = scene.cluster.name();
        let dir = tempfile::tempdir()?;
        let bytes: Vec<u8> = (0..300_000_u32).map(|n| ((n * 7) >> 3) as u8).collect();
        let here = dir.path().join("a file");
        std::fs::write(&here, &bytes)?;
        let here = here.to_str().context("text")?;
        let back = dir.path().join("back");
        let back = back.to_str().context("text")?;
        for (from, to) in [
            (here, "client:/tmp/"),
            ("client:/tmp/a file", "server:/tmp/b file"),
            ("server:/tmp/b file", back),
        ] {
            let output = rapidswap::run(&["--name", name, "cp", from, to])?;
            ensure!(output.status.success(), "{from} {to}: {output:?}");
        }
        ensure!(std::fs::read(back)? == bytes, "the copy is another file");
        for (from, to, says) in [
            (here, back, "NODE:PATH"),
            ("client:/nowhere", back, "nowhere"),
            (here, "nobody:/tmp/x", "nobody"),
            ("/nowhere", "client:/tmp/x", "/nowhere"),
        ] {
            let output = rapidswap::run(&["--name", name, "cp", from, to])?;
            let line = rapidswap::refusal(&output)?;
            ensure!(line.contains(says), "{line}");
        }
        Ok(())
    })
}

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
