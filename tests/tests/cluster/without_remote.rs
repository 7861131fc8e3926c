//! Swap to disk works with the module absent, and with it loaded and no server
//! to be reached; a server that comes later is used.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::memory_server::MemoryServer;
use rapidswap_tests::remote_module::{self, CONNECT, status, wait_for_state};
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::{Scene, on_cluster, scaled};
use rapidswap_tests::swap_area;

fn verify(swap: &Arrangement<'_>) -> Result<()> {
    let limit = Limit::new(swap.client, 16)?;
    all_right(&limit.run(&[PAGE_PATTERN, "verify", "--mib", "32"])?, 32, 1).map(drop)
}

/// 32 MiB under a limit of 16 MiB: at least this many pages go out.
const AT_LEAST: u64 = 16 * 256;

#[test]
fn without_the_module() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::disk(scene)?;
        ensure!(swap_area::backend(swap.client)? == "none");
        verify(&swap)?;
        let moved = swap.moved()?;
        ensure!(
            moved.stored == 0 && moved.disk_writes >= AT_LEAST,
            "{moved}"
        );
        swap.end()
    })
}

/// Loads the module for a server that may not be there.
fn load_for(scene: &Scene, server: SocketAddrV4) -> Result<()> {
    swap_area::clear(&scene.client)?;
    let start = Instant::now();
    remote_module::load_for(&scene.client, server, &["rmsize=0"])?;
    let took = start.elapsed();
    let limit = scaled(Duration::from_secs(5))?;
    ensure!(
        took < limit,
        "insmod took {took:?} with nobody to connect to"
    );
    Ok(())
}

#[test]
fn with_the_module_and_no_server() -> Result<()> {
    on_cluster(|scene| {
        load_for(scene, SocketAddrV4::new(*scene.listen.ip(), 9999))?;
        let swap = Arrangement::attached(&scene.client)?;
        verify(&swap)?;
        let moved = swap.moved()?;
        ensure!(
            moved.stored == 0 && moved.disk_writes >= AT_LEAST,
            "{moved}"
        );
        ensure!(
            status(swap.client)?
                .get("state")
                .is_some_and(|state| state != "up")
        );
        swap.end()
    })
}

#[test]
fn a_server_that_starts_later_is_found() -> Result<()> {
    on_cluster(|scene| {
        load_for(scene, scene.listen)?;
        let swap = Arrangement::attached(&scene.client)?;
        let server = MemoryServer::start(scene, 64)?;
        wait_for_state(swap.client, "up", scaled(CONNECT)?)?;
        verify(&swap)?;
        let moved = swap.moved()?;
        ensure!(moved.stored > 0, "nothing went to the server: {moved}");
        swap.end()?;
        server.stop()
    })
}
