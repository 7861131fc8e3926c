//! What a user asks of a running cluster.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rapidswap_progress::{Event, Stamped};
use rapidswap_tests::rapidswap;
use rapidswap_tests::scene::on_cluster;

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
        ensure!(took < Duration::from_secs(30), "{took:?}");
        // One that does not listen is killed.
        let stubborn = [
            "sh",
            "-c",
            "trap '' TERM; echo on; while :; do sleep 1; done",
        ];
        let (output, took) = within("1s", &stubborn)?;
        ensure!(output.status.code() == Some(124), "{output:?}");
        ensure!(output.stdout == b"on\n" && took < Duration::from_secs(60));
        // In time, it is as if there were no limit.
        let (output, _) = within("1m", &["sh", "-c", "exit 7"])?;
        ensure!(output.status.code() == Some(7), "{output:?}");
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
fn what_is_collected_is_told_by_events_alone() -> Result<()> {
    on_cluster(|scene| {
        let dir = tempfile::tempdir()?;
        let dir = dir.path().to_str().context("text")?;
        let name = ["--name", scene.cluster.name(), "--events", "json"];
        let output = rapidswap::run(&[&name[..], &["collect", dir]].concat())?;
        ensure!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stderr)?;
        let events = said.lines().map(serde_json::from_str::<Stamped>);
        let events = events.collect::<Result<Vec<_>, _>>();
        let events = events.with_context(|| format!("not an event each: {said}"))?;
        let told = events
            .iter()
            .any(|stamped| matches!(&stamped.event, Event::Note { text } if text.contains(dir)));
        ensure!(told, "where it is was not said: {said}");
        let last = events.last().map(|stamped| &stamped.event);
        ensure!(
            matches!(last, Some(Event::Ended { code: 0, .. })),
            "{last:?}"
        );
        Ok(())
    })
}
