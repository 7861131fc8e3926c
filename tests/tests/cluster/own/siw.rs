//! The same over another transport: soft-iWARP in the place of soft-RoCE.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rapidswap_progress::Reporter;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::memory_server::{MEMORY_SERVER, MemoryServer, asked};
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::{guarded, options, scaled};
use rapidswap_tests::wait::wait_until;
use rapidswap_vm::{Cluster, Fault, UpOptions, swap};

fn wanted(name: &str) -> Result<UpOptions> {
    Ok(UpOptions {
        profile: "siw".to_owned(),
        server_mib: 64,
        ..options(name)?
    })
}

/// The link is proved as any, its devices' own limits are reported, and pages
/// travel.
#[test]
fn the_link_is_proved_and_swapped_over() -> Result<()> {
    let wanted = UpOptions {
        swap: true,
        ..wanted("test-siw")?
    };
    // Fails if the proof does.
    let cluster = Cluster::up(&wanted, &Reporter::auto())?;
    guarded(cluster.clone(), |scene| {
        let links = scene.client.ok(&["rdma", "link"])?;
        ensure!(links.contains("siw0/1 state ACTIVE"), "{links}");
        let parity = scene.cluster.parity(&[])?;
        ensure!(parity.ok, "{parity}");
        ensure!(
            parity.ends.iter().all(|end| end.device == "siw0"),
            "{parity}"
        );
        let sges = parity
            .limits
            .iter()
            .find(|limit| limit.attribute == "max_sge_rd");
        // Soft-RoCE has 32.
        ensure!(sges.context("no max_sge_rd")?.common == 1, "{parity}");

        let limit = Limit::new(&scene.client, 12)?;
        let output = limit.run(&[PAGE_PATTERN, "verify", "--mib", "24"])?;
        all_right(&output, 24, 1)?;
        let moved = swap::counters(&scene.client.node)?;
        ensure!(
            moved.pages_stored >= 12 * 256 && moved.disk_writes == 0,
            "{moved:?}"
        );
        Ok(())
    })?;
    Ok(cluster.down()?)
}

/// A request that comes right behind the connection is read, whatever else the
/// server's processors do before they get to know of it.
#[test]
fn a_busy_server_answers_the_first_read() -> Result<()> {
    const CONNECTIONS: usize = 100;
    let cluster = Cluster::up(&wanted("test-siw-busy")?, &Reporter::auto())?;
    guarded(cluster.clone(), |scene| {
        let server = MemoryServer::start(scene, 8)?;
        let hog = "while :; do :; done";
        let _busy = scene
            .server
            .start(&["sh", "-c", &format!("{hog} & {hog}")])?;
        let script = "count=$1; shift; for n in $(seq $count); do \"$@\" || exit; done";
        let peer = scene.listen.to_string();
        let probe = [MEMORY_SERVER, "probe", "--connect", &peer];
        let count = CONNECTIONS.to_string();
        let said = scene
            .client
            .ok(&[&["sh", "-c", script, "sh", &count], &probe[..]].concat())?;
        ensure!(said.lines().count() == CONNECTIONS, "{said}");
        server.stop()
    })?;
    Ok(cluster.down()?)
}

/// A server's refusal has its reason in the reply, also if that was lost with
/// the connection's end behind it: TCP then sends both in one segment.
#[test]
fn a_refusal_that_comes_with_the_end_has_its_reason() -> Result<()> {
    let cluster = Cluster::up(&wanted("test-siw-refusal")?, &Reporter::auto())?;
    guarded(cluster.clone(), |scene| {
        let server = MemoryServer::start(scene, 8)?;
        server.signal(nix::libc::SIGSTOP);
        let peer = scene.listen.to_string();
        let probe = [MEMORY_SERVER, "probe", "--connect", &peer, "--magic", "1"];
        let probe = scene.client.start(&probe)?;
        asked(&scene.server, 1)?;
        scene
            .cluster
            .fault(&Fault::Partition("client".into(), "server".into()))?;
        server.signal(nix::libc::SIGCONT);
        let limit = scaled(Duration::from_secs(5))?;
        wait_until("the server's refusal", limit, || {
            let stats = server.control(&["stats"])?;
            Ok(stats.contains("\"rejected\":1,").then_some(()))
        })?;
        scene.cluster.fault(&Fault::Clear)?;
        let output = probe.finish(scaled(Duration::from_secs(20))?)?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(said.contains("magic"), "{output:?}");
        server.stop()
    })?;
    Ok(cluster.down()?)
}
