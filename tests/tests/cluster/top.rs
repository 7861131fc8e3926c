//! `top` on a cluster that swaps.

use anyhow::{Context, Result, ensure};
use rapidswap_tests::limit::Limit;
use rapidswap_tests::rapidswap;
use rapidswap_tests::reports::PAGE_PATTERN;
use rapidswap_tests::scene::on_cluster;
use rapidswap_tests::swap_area;
use rapidswap_tests::terminal::Terminal;
use rapidswap_vm::swap::{self, SwapOptions};

const LIMIT_MIB: u64 = 12;
const SERVER_MIB: u64 = 64;

/// What shows the cursor, and what hides it.
const CURSOR: (&str, &str) = ("\x1b[?25h", "\x1b[?25l");

/// What has the screen as it was before, and what clears one aside.
const USUAL_SCREEN: (&str, &str) = ("\x1b[?1049l", "\x1b[?1049h");

#[test]
fn top_shows_what_happens_in_its_interval() -> Result<()> {
    on_cluster(|scene| {
        swap_area::clear(&scene.client)?;
        // As `up` has it, so that the server is where `top` looks for it.
        let options = SwapOptions {
            server_mib: SERVER_MIB,
            ..SwapOptions::default()
        };
        swap::on(&scene.cluster, &options)?;
        let name = scene.cluster.name();
        let limit = Limit::new(&scene.client, LIMIT_MIB)?;
        let command = [
            PAGE_PATTERN,
            "verify",
            "--mib",
            "24",
            "--passes",
            "1000",
            "--hold",
        ];
        let mut program = limit.start(&command)?;
        // All of it is out when it says so, and then it comes in.
        program.line()?;
        program.say("go")?;
        let before = swap::counters(&scene.client.node)?;
        let output = rapidswap::run(&["top", name, "--once", "--json"])?;
        let moved = swap::counters(&scene.client.node)?.since(&before);
        ensure!(output.status.success(), "{output:?}");
        let top: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        eprintln!("{top:#}\n{moved:?}");

        ensure!(top["cluster"] == name && top["nodes"]["server"] == "up");
        let client = &top["client"];
        ensure!(client["session"] == "up");
        let seconds = top["seconds"].as_f64().context("seconds")?;
        ensure!((1.0..30.0).contains(&seconds), "{seconds} s");
        let pages = |rate: &str| -> Result<f64> {
            let rate = client["per_second"][rate].as_f64();
            Ok((rate.context("a rate")? * seconds).round())
        };
        // Its interval is within ours, and something came in for all of it.
        let (faults, loads) = (pages("faults")?, pages("loads")?);
        ensure!(
            faults >= 1.0 && loads > faults && loads <= moved.pages_loaded as f64,
            "{faults} faults, {loads} loads"
        );
        // What went out before is not of this interval.
        let stores = pages("stores")?;
        ensure!(
            stores <= moved.pages_stored as f64 && before.pages_stored > moved.pages_stored,
            "{stores} stores, {before:?}"
        );
        let fault = &client["latency"]["fault"];
        ensure!(fault["count"].as_f64() == Some(faults), "{fault}");
        ensure!(
            fault["p50_ns"].as_u64() > Some(0)
                && fault["p50_ns"].as_u64() <= fault["p99_ns"].as_u64()
        );

        let group = client["groups"].as_array().context("groups")?;
        let group = group
            .iter()
            .find(|group| group["limit_bytes"] == LIMIT_MIB << 20);
        let used = group.context("the group")?["used_bytes"]
            .as_u64()
            .context("used")?;
        ensure!((1..=LIMIT_MIB << 20).contains(&used), "{used} bytes used");
        ensure!(top["servers"]["server"]["leased_bytes"] == SERVER_MIB << 20);

        // And for people, where there is no screen.
        let output = rapidswap::run(&["top", "--name", name, "--once"])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let headline = format!("{name}: remote swap up; client up, server up; last ");
        ensure!(
            text.starts_with(&headline)
                && text.contains("  server leased     64.0 MiB of 64.0 MiB\n"),
            "{text}"
        );
        program.signal(9);
        drop(program);
        drop(limit);
        swap::off(&scene.cluster).context("turn swap off again")
    })
}

#[test]
fn a_terminal_shows_each_interval_and_is_left_as_it_was() -> Result<()> {
    on_cluster(|scene| {
        swap_area::clear(&scene.client)?;
        let name = scene.cluster.name();
        let mut terminal = Terminal::start(&["top", name, "--interval", "200ms"], (24, 80))?;
        terminal.shows(&format!(
            "{name}: remote swap off; client up, server up; last "
        ))?;
        ensure!(!terminal.is_cooked()?, "keys are not taken at once");
        // What is on the screen already is not written again: each group is
        // seen in the first interval that has it.
        let _first = Limit::new(&scene.client, LIMIT_MIB)?;
        terminal.shows("rapidswap-")?;
        let _second = Limit::new(&scene.client, LIMIT_MIB)?;
        terminal.shows("rapidswap-")?;
        terminal.type_in(b"q")?;
        ensure!(terminal.end()? == Some(0));
        ensure!(terminal.is_cooked()?, "the terminal is left as it was used");
        let rest = terminal.rest();
        for (there, gone) in [CURSOR, USUAL_SCREEN] {
            ensure!(rest.rfind(there) > rest.rfind(gone), "{rest:?}");
        }
        Ok(())
    })
}
