//! What `run` reports and the module times, against what the kernel counts.

use std::collections::BTreeMap;
use std::process::Output;

use anyhow::{Context, Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::rapidswap;
use rapidswap_tests::remote_module::{selftest, status, summary, timed, timed_by_kernel};
use rapidswap_tests::reports::{PAGE_PATTERN, Verified, all_right, parse};
use rapidswap_tests::scene::on_cluster;
use rapidswap_tests::setting::{PAGE_CLUSTER, Setting, only_folios};
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area::Backing;
use rapidswap_tests::time_v::TimeReport;
use rapidswap_vm::swap::{Counters, counters};

const MIB: u64 = 24;

/// The lines of a report after those of `time -v`, by name.
fn report(output: &Output) -> Result<BTreeMap<String, String>> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{stderr}");
    let (_, ours) = stderr.split_once("Exit status: 0\n").context("time -v")?;
    let pairs = ours.lines().map(|line| {
        let pair = line.trim().split_once(": ");
        let (name, value) = pair.with_context(|| format!("`{line}`: {stderr}"))?;
        Ok((name.to_owned(), value.to_owned()))
    });
    pairs.collect()
}

/// The number that a line begins with.
fn number(report: &BTreeMap<String, String>, name: &str) -> Result<f64> {
    let value = report.get(name).with_context(|| format!("no {name}"))?;
    let word = value.split(' ').next().unwrap_or(value);
    word.parse().with_context(|| format!("{name}: {value}"))
}

/// A line that is a time, in seconds.
fn seconds(report: &BTreeMap<String, String>, name: &str) -> Result<f64> {
    let unit = match report.get(name).and_then(|value| value.split_once(' ')) {
        Some((_, "s")) => 1.0,
        Some((_, "ms")) => 1e-3,
        Some((_, "us")) => 1e-6,
        other => anyhow::bail!("{name}: {other:?}"),
    };
    Ok(number(report, name)? * unit)
}

#[test]
fn run_reports_what_was_counted() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let fastest = selftest(swap.client, 50)?.into_iter().min();
        let fastest = fastest.context("READs")? as f64 / 1e9;
        let name = scene.cluster.name();
        let before = counters(&swap.client.node)?;
        let options = ["run", "--name", name, "--limit", "16M", "--compare", "--"];
        // Long enough to be compared on the fastest host, too.
        let command = format!("sleep 0.1; {PAGE_PATTERN} verify --mib {MIB}");
        let output = rapidswap::run(&[&options[..], &["sh", "-c", &command]].concat())?;
        let moved = counters(&swap.client.node)?.since(&before);

        // Of the two runs the first one's output, and only that.
        let verified: Verified = parse(std::str::from_utf8(&output.stdout)?.trim())?;
        ensure!(verified.bytes_verified == MIB << 20 && verified.corrupt_bytes == 0);
        let report = report(&output)?;
        eprintln!("{report:#?}\n{moved:?}");
        check_counts(&report, &moved)?;

        let faults = number(&report, "Remote faults")?;
        let p50 = seconds(&report, "Remote fault latency, p50")?;
        let p99 = seconds(&report, "Remote fault latency, p99")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let time = TimeReport::parse(&stderr).context("no report of `time -v`")?;
        let elapsed = time.elapsed.as_secs_f64();
        // One thread waited for one after the other, and no READ is faster
        // than the module's own, which waits for nothing else.
        ensure!(
            fastest / 2.0 <= p50 && p50 <= p99 && p50 * faults / 2.0 <= elapsed,
            "p50 {p50} s, p99 {p99} s, fastest {fastest} s, elapsed {elapsed} s"
        );

        let free = number(&report, "Elapsed without a limit (seconds)")?;
        let slowdown = number(&report, "Slowdown by the limit")?;
        ensure!(
            slowdown > 1.0 && (slowdown * free / elapsed - 1.0).abs() < 0.02,
            "{elapsed} s is not {slowdown} times {free} s"
        );
        swap.end()
    })
}

/// Whether the report has the counters' own numbers: nothing else swaps.
fn check_counts(report: &BTreeMap<String, String>, moved: &Counters) -> Result<()> {
    for (name, pages) in [
        ("Pages loaded", moved.pages_loaded),
        ("Pages read ahead", moved.read_ahead),
        ("Pages read ahead and used", moved.read_ahead_used),
        ("Pages stored", moved.pages_stored),
        ("Pages to the swap device", moved.disk_writes),
    ] {
        ensure!(number(report, name)? == pages as f64, "{name}: {pages}");
    }
    // The program's memory is its own, so that what is not a fault's is read
    // ahead; but a fault that finds its slot pinned goes the usual way, and
    // a page of zeros is read ahead without a load.
    let loaded = moved.pages_loaded as f64;
    let faults = number(report, "Remote faults")?;
    let others = loaded - faults - moved.read_ahead as f64;
    ensure!(
        faults > 0.0 && others.abs() <= loaded / 100.0,
        "{faults} faults, {moved:?}"
    );
    let (used, all) = (moved.read_ahead_used, moved.read_ahead);
    let share = format!("{used} ({} %)", used * 100 / all.max(1));
    ensure!(all > 0 && report["Pages read ahead and used"] == share);
    ensure!(moved.pages_stored > 0 && moved.disk_writes == 0);
    Ok(())
}

#[test]
fn run_without_remote_swap_says_so() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::disk(scene)?;
        let name = scene.cluster.name();
        let run = |command: &[&str]| {
            let options = ["run", "--name", name, "--limit", "16M", "--compare", "--"];
            rapidswap::run(&[&options[..], command].concat())
        };
        // It has no memory to be limited in, and is longer than its start.
        let said = report(&run(&["sleep", "1"])?)?;
        ensure!(said["Remote swap"].starts_with("off"), "{said:?}");
        let slowdown = number(&said, "Slowdown by the limit")?;
        ensure!((0.5..2.0).contains(&slowdown), "{said:?}");
        // What fails is not run again, and its own status counts.
        let output = run(&["sh", "-c", "echo once; exit 7"])?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(7) && output.stdout == b"once\n");
        ensure!(
            stderr.contains("unknown, under the limit it ended with 7"),
            "{stderr}"
        );
        swap.end()
    })
}

#[test]
fn each_load_and_each_batch_is_timed_once() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let client = swap.client;
        let limit = Limit::new(client, 12)?;
        let mib = MIB.to_string();
        let command = [PAGE_PATTERN, "verify", "--mib", &mib, "--order", "random"];
        all_right(&limit.run(&command)?, MIB, 1)?;
        drop(limit);
        // One that is under way was begun and has not ended.
        swap.settled()?;
        let (status, timed) = (status(client)?, timed(client)?);
        eprintln!("{status:?}\n{timed:?}");
        let counted = |name: &str| -> Result<u64> {
            let value = status.get(name).with_context(|| format!("no {name}"))?;
            Ok(value.parse()?)
        };
        let stage = |name: &str| timed.get(name).copied().unwrap_or(0);
        let loads = stage("load_fault") + stage("load_cache");
        ensure!(loads > 0 && loads == counted("loads")? && loads == stage("load_wait"));
        let batches = stage("store_batch");
        ensure!(batches > 0 && batches == counted("store_completions")?);
        ensure!(batches == stage("store_gather"));
        // The module's own summary is of the same numbers.
        for name in ["load_fault", "store_batch"] {
            let numbers = summary(client, name)?;
            let ascending = numbers[1..].windows(2).all(|pair| pair[0] <= pair[1]);
            ensure!(
                numbers[0] == stage(name) && ascending,
                "{name}: {numbers:?}"
            );
        }
        swap.end()
    })
}

#[test]
fn the_kernel_times_faults_and_what_is_in_them() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let client = swap.client;
        let before = timed_by_kernel(client)?;
        let limit = Limit::new(client, 12)?;
        let mib = MIB.to_string();
        let command = [PAGE_PATTERN, "verify", "--mib", &mib, "--order", "random"];
        all_right(&limit.run(&command)?, MIB, 1)?;
        drop(limit);
        let after = timed_by_kernel(client)?;
        let grown = |stage: &str| {
            let count = |times: &BTreeMap<String, u64>| times.get(stage).copied().unwrap_or(0);
            count(&after) - count(&before)
        };
        eprintln!("{before:?}, then {after:?}");
        let early = timed(client)?.get("load_fault").copied().unwrap_or(0);
        // Each early load is charged within its fault.
        ensure!(early > 100 && grown("charge") == early, "{early} early");
        ensure!(grown("fault") >= early, "{early} early");
        for stage in ["write_ahead", "offload"] {
            ensure!(grown(stage) > 0, "no {stage}");
        }
        swap.end()
    })
}

/// However many pages it has, and the module READs.
#[test]
fn a_large_folio_is_one_fault() -> Result<()> {
    const ORDER: u32 = 4;
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let client = swap.client;
        let pages = 2 * 256;
        let _only = only_folios(client, ORDER)?;
        let _alone = Setting::new(client, PAGE_CLUSTER, "0")?;
        let faults = || -> Result<u64> {
            let timed = timed_by_kernel(client)?;
            Ok(timed.get("fault").copied().unwrap_or(0))
        };
        let limit = Limit::new(client, 16)?;
        let mut program = Steps::start(&limit, 2, Kind::Anonymous)?;
        program.run(&format!(
            "huge 0..{pages}; fill 1 0..{pages}; pageout 0..{pages}; settle"
        ))?;
        let (before, loaded) = (faults()?, swap.moved()?.loaded);
        program.check(&format!("check 1 0..{pages}"), pages)?;
        let (met, loaded) = (faults()? - before, swap.moved()?.loaded - loaded);
        eprintln!("{met} faults, {loaded} pages");
        ensure!(loaded >= pages * 9 / 10, "{loaded} pages");
        ensure!(met >= pages >> ORDER && met <= loaded / 4, "{met} faults");
        program.end()?;
        drop(limit);
        swap.end()
    })
}
