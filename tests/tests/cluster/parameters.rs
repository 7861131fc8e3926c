//! What the module is loaded with has the effect that it is said to have.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::guest::Guest;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::remote_module::{connect_with, timed};
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::{Scene, on_cluster};
use rapidswap_tests::swap_area::{self, Backing};

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

/// How often the server was asked for a sign of life in two seconds.
fn asked(client: &Guest, scene: &Scene, every_ms: u64) -> Result<u64> {
    swap_area::clear(client)?;
    let server = rapidswap_tests::memory_server::MemoryServer::start(scene, 64)?;
    connect_with(scene, &[&format!("keepalive_ms={every_ms}")])?;
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
