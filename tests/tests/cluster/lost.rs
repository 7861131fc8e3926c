//! Memory that is lost with its server, and what the client still has of it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::memory_server::MemoryServer;
use rapidswap_tests::remote_module::wait_for_state;
use rapidswap_tests::scene::{on_cluster, scaled};
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area::Backing;

/// The programs' memory, and a limit with room for all of it.
const MIB: u64 = 8;
const ROOMY_MIB: u64 = 16;
const PAGES: u64 = MIB * 256;
const SERVER_MIB: u64 = 64;

/// A page that was read back is clean, and reclaim could drop it for a copy
/// that no longer is.
#[test]
fn a_page_in_memory_is_written_again() -> Result<()> {
    on_cluster(|scene| {
        let mut swap = Arrangement::remote(scene, SERVER_MIB, Backing::Disk)?;
        let limit = Limit::new(swap.client, ROOMY_MIB)?;
        let mut program = Steps::start(&limit, MIB, Kind::Anonymous)?;
        program.run(&format!("fill 1 0..{PAGES}; pageout 0..{PAGES}; settle"))?;
        program.check(&format!("check 1 0..{PAGES}"), PAGES)?;
        let stored = swap.moved()?.stored;

        let server = swap.server.take().context("the server")?;
        server.stop()?;
        let soon = scaled(Duration::from_secs(60))?;
        wait_for_state(swap.client, "down", soon)?;
        swap.server = Some(MemoryServer::start(scene, SERVER_MIB)?);
        wait_for_state(swap.client, "up", soon)?;

        program.run(&format!("pageout 0..{PAGES}; settle"))?;
        let resident = program.run(&format!("places 0..{PAGES}"))?.resident;
        program.check(&format!("check 1 0..{PAGES}"), PAGES)?;
        let moved = swap.moved()?;
        eprintln!("{stored} stored before, {resident} stayed; {moved}");
        ensure!(resident < PAGES / 10, "{resident} pages stayed");
        ensure!(moved.stored >= stored + PAGES * 9 / 10, "{moved}");
        ensure!(moved.lost == 0, "{moved}");
        program.end()?;
        drop(limit);
        swap.end()
    })
}
