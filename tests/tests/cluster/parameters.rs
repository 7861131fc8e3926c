//! What the module is loaded with has the effect that it is said to have.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::guest::Guest;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::remote_module::{connect_with, status, timed, wait_for_state};
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::{Scene, on_cluster, scaled};
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area::{self, Backing};
use rapidswap_tests::wait::wait_until;

/// Less than what the default of any timeout leaves room for.
const SOON: Duration = Duration::from_secs(30);

/// What is beyond the memory that was asked for goes to the disk.
#[test]
fn rmsize_is_all_that_is_used_of_a_server() -> Result<()> {
    on_cluster(|scene| {
        for (size, beyond) in [("rmsize=8M", true), ("rmsize=0", false)] {
            let swap = Arrangement::remote_with(scene, 64, Backing::Disk, &[size])?;
            let limit = Limit::new(swap.client, 6)?;
            all_right(&limit.run(&[PAGE_PATTERN, "verify", "--mib", "24"])?, 24, 1)?;
            let moved = swap.moved()?;
            eprintln!("{size}: {moved}");
            ensure!(moved.stored > 1024, "{size}: {moved}");
            ensure!((moved.diverted > 1024) == beyond, "{size}: {moved}");
            drop(limit);
            swap.end()?;
        }
        Ok(())
    })
}

/// How long a session outlives the answers of its server.
fn outlives(scene: &Scene, timeout_ms: u64) -> Result<Duration> {
    let timeout = format!("store_timeout_ms={timeout_ms}");
    let swap = Arrangement::remote_with(scene, 64, Backing::Disk, &[&timeout])?;
    let start = Instant::now();
    scene.server.node.pause()?;
    let ended = wait_until("the end of the session", scaled(SOON)?, || {
        let state = status(swap.client)?.remove("state");
        Ok((state.as_deref() != Some("up")).then(|| start.elapsed()))
    });
    scene.server.node.resume()?;
    let ended = ended?;
    wait_for_state(swap.client, "up", scaled(SOON)?)?;
    swap.end()?;
    Ok(ended)
}

#[test]
fn store_timeout_ms_is_when_a_session_ends() -> Result<()> {
    on_cluster(|scene| {
        let (short, long) = (outlives(scene, 300)?, outlives(scene, 6000)?);
        eprintln!("ended after {short:?} and {long:?}");
        ensure!(long >= Duration::from_millis(5500), "{long:?}");
        ensure!(short + Duration::from_secs(2) < long, "{short:?}, {long:?}");
        Ok(())
    })
}

#[test]
fn load_timeout_ms_is_when_a_load_fails() -> Result<()> {
    on_cluster(|scene| {
        let short = ["load_timeout_ms=1000", "store_timeout_ms=1000"];
        let swap = Arrangement::remote_with(scene, 64, Backing::Disk, &short)?;
        let limit = Limit::new(swap.client, 8)?;
        let mut program = Steps::start(&limit, 4, Kind::Anonymous)?;
        program.run("fill 1 0..1024; pageout 0..1024; settle")?;
        scene.server.node.pause()?;
        program.begin("check 1 0..1")?;
        let failed = wait_until("a load that fails", scaled(SOON)?, || {
            Ok((swap.moved()?.load_failures > 0).then_some(()))
        });
        // The kernel tries a fault twice.
        let answer = program.answer();
        scene.server.node.resume()?;
        failed?;
        ensure!(answer.is_err(), "the page was there");
        drop((program, limit));
        wait_for_state(swap.client, "up", scaled(SOON)?)?;
        swap.end()
    })
}

/// How often the server was asked for a sign of life in two seconds.
fn asked(client: &Guest, scene: &Scene, every_ms: u64) -> Result<u64> {
    swap_area::clear(client)?;
    let server = rapidswap_tests::memory_server::MemoryServer::start(&scene.server, 64)?;
    connect_with(client, &[&format!("keepalive_ms={every_ms}")])?;
    let count = || -> Result<u64> { timed(client)?.remove("control").context("no `control`") };
    let before = count()?;
    std::thread::sleep(Duration::from_secs(2));
    let asked = count()? - before;
    swap_area::clear(client)?;
    server.stop()?;
    Ok(asked)
}

#[test]
fn keepalive_ms_is_how_often_a_server_is_asked() -> Result<()> {
    on_cluster(|scene| {
        let (often, seldom) = (
            asked(&scene.client, scene, 100)?,
            asked(&scene.client, scene, 2000)?,
        );
        eprintln!("asked {often} times and {seldom}");
        ensure!(often >= 6 && often >= 3 * seldom, "{often} and {seldom}");
        Ok(())
    })
}
