//! How long the module waits is what it is loaded with.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::remote_module::{status, wait_for_state};
use rapidswap_tests::scene::{Scene, on_cluster, scaled};
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area::Backing;
use rapidswap_tests::wait::wait_until;

/// Less than what the default of any timeout leaves room for.
const SOON: Duration = Duration::from_secs(30);

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
