//! Faults from outside: in the links.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::guest::Guest;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::median::median;
use rapidswap_tests::memory_server::MemoryServer;
use rapidswap_tests::proof::prove;
use rapidswap_tests::rapidswap;
use rapidswap_tests::remote_module::{connect, selftest, wait_for_state};
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::{Scene, on_cluster, scaled};
use rapidswap_tests::swap_area::{self, Backing};
use rapidswap_tests::wait::wait_until;
use rapidswap_vm::{Cluster, Fault};

use super::pauses::{recovered, still_to_disk};

/// From a fault until a guest has noticed.
const NOTICED: Duration = Duration::from_secs(10);

/// Nothing is left in the way of the packets.
fn direct(cluster: &Cluster) -> Result<()> {
    cluster.fault(&Fault::Clear)?;
    for node in ["client", "server"] {
        let aside = cluster.run_dir().join(format!("{node}.direct"));
        ensure!(!aside.exists(), "{} is left", aside.display());
    }
    let status = cluster.status()?;
    ensure!(status.link_faults.is_none());
    // A switch is a thread of the supervisor's.
    for thread in fs::read_dir(format!("/proc/{}/task", status.supervisor))? {
        let name = fs::read_to_string(thread?.path().join("comm")).unwrap_or_default();
        ensure!(name.trim() != "switch", "a switch is left");
    }
    Ok(())
}

#[test]
fn a_cable_is_pulled_out_and_plugged_in() -> Result<()> {
    on_cluster(|scene| {
        for (up, carrier) in [(false, "0"), (true, "1")] {
            let node = "server".to_owned();
            scene.cluster.fault(&Fault::Link { node, up })?;
            wait_until("the carrier", NOTICED, || {
                let seen = scene.server.read("/sys/class/net/eth0/carrier")?;
                Ok((seen.trim() == carrier).then_some(()))
            })?;
            let nodes = scene.cluster.status()?.nodes;
            ensure!(nodes[1].link_up == up && nodes[0].link_up);
        }
        Ok(())
    })
}

/// Packets that both ends have noticed to be missing, or had twice.
fn repeats(scene: &Scene) -> Result<u64> {
    // Soft-RoCE counts them itself, and iWARP's are those of TCP.
    let counters = "(
            for name in rcvd_seq_err duplicate_request completer_retry_err out_of_seq_request; do
                cat /sys/class/infiniband/*/ports/1/hw_counters/$name 2>/dev/null || true
            done
            awk '/^Tcp: [0-9]/ { print $13 }' /proc/net/snmp
        ) | awk '{ sum += $1 } END { print sum }'";
    let of = |guest: &Guest| Ok::<u64, anyhow::Error>(guest.sh(counters)?.trim().parse()?);
    Ok(of(&scene.client)? + of(&scene.server)?)
}

/// Proofs enough for the last packets of some to be lost.
const PROOFS: u32 = 12;

#[test]
fn both_ends_of_a_proof_come_to_the_same_though_packets_are_lost() -> Result<()> {
    on_cluster(|scene| {
        scene.cluster.fault(&Fault::Loss("3%".parse()?))?;
        let at = format!("{}:9500", scene.listen.ip());
        for proof in 0..PROOFS {
            let (client, server) = (&scene.client, &scene.server);
            // Each ends with an error if the other ended as if all were done.
            let options = ["--count", "100", "--deadline", "50"];
            for end in prove(client, server, &at, &options)? {
                let said = String::from_utf8_lossy(&end.stderr);
                ensure!(end.status.success(), "proof {proof}: {said}");
            }
        }
        direct(&scene.cluster)
    })
}

/// The sockets that packets to the nodes go to.
fn sockets(cluster: &Cluster) -> Result<[u64; 2]> {
    let inode = |node: &str| {
        let path = cluster.run_dir().join(format!("{node}.link"));
        fs::metadata(&path).map(|meta| meta.ino())
    };
    Ok([inode("client")?, inode("server")?])
}

#[test]
fn one_packet_in_a_hundred_is_lost() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 128, Backing::Disk)?;
        let (before, own) = (repeats(scene)?, sockets(&scene.cluster)?);
        scene.cluster.fault(&Fault::Loss("1%".parse()?))?;
        let relayed = sockets(&scene.cluster)?;
        let limit = Limit::new(swap.client, 8)?;
        all_right(&limit.run(&[PAGE_PATTERN, "verify", "--mib", "16"])?, 16, 1)?;
        let moved = swap.moved()?;
        let repeated = repeats(scene)? - before;
        eprintln!("{moved}, {repeated} repeats");
        ensure!(moved.stored > 0 && moved.loaded > 0, "{moved}");
        // Hundreds of packets were on their way, if not thousands.
        ensure!(repeated > 0, "no packet was missed");
        direct(&scene.cluster)?;
        // What costs nothing while nothing is asked for: the nodes' own
        // sockets, and no others.
        ensure!(own != relayed, "packets went past the relay");
        ensure!(sockets(&scene.cluster)? == own, "packets are still relayed");
        swap.end()
    })
}

/// Median of a few READs of a page.
fn read_time(client: &Guest) -> Result<Duration> {
    let times: Vec<f64> = selftest(client, 20)?
        .into_iter()
        .map(|ns| ns as f64)
        .collect();
    let ns = median(&times).context("some READs")?;
    Ok(Duration::from_nanos(ns as u64))
}

#[test]
fn packets_arrive_later() -> Result<()> {
    on_cluster(|scene| {
        let delay = Duration::from_millis(100);
        let swap = Arrangement::remote(scene, 16, Backing::Disk)?;
        let direct_time = read_time(swap.client)?;
        scene.cluster.fault(&Fault::Delay(delay))?;
        let late = read_time(swap.client)?;
        direct(&scene.cluster)?;
        let again = read_time(swap.client)?;
        eprintln!("READ: {direct_time:?}, delayed {late:?}, after it {again:?}");
        // There and back.
        ensure!(late >= 2 * delay && direct_time < 2 * delay && again < 2 * delay);
        swap.end()
    })
}

#[test]
fn a_partition_is_as_a_paused_server() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 128, Backing::Disk)?;
        let limit = Limit::new(swap.client, 8)?;
        let mut program = limit.start(&[PAGE_PATTERN, "verify", "--mib", "24", "--hold"])?;
        program.line()?;
        scene
            .cluster
            .fault(&Fault::Partition("client".into(), "server".into()))?;
        still_to_disk(&swap, Instant::now())?;
        direct(&scene.cluster)?;
        wait_for_state(swap.client, "up", scaled(Duration::from_secs(60))?)?;
        program.say("check")?;
        // The server has kept the pages for a client that comes back.
        all_right(&program.finish(scaled(Duration::from_secs(120))?)?, 24, 1)?;
        recovered(&swap)?;
        swap.end()
    })
}

/// A server that may lock no memory for a while cannot give out keys to it.
#[test]
fn a_server_without_keys_for_a_while_keeps_the_pages() -> Result<()> {
    on_cluster(|scene| {
        swap_area::clear(&scene.client)?;
        let limited = "ulimit -l unlimited; exec setpriv --bounding-set -ipc_lock \"$@\"";
        let server = MemoryServer::start_by(scene, 64, limited)?;
        connect(scene)?;
        let swap = Arrangement::attached(&scene.client)?;
        let limit = Limit::new(swap.client, 8)?;
        let mut program = limit.start(&[PAGE_PATTERN, "verify", "--mib", "24", "--hold"])?;
        program.line()?;
        let may_lock = |bytes: &str| {
            let line = format!("prlimit --memlock={bytes} --pid $(pidof remoteswap-server)");
            scene.server.sh(&line)
        };
        may_lock("65536:unlimited")?;
        scene
            .cluster
            .fault(&Fault::Partition("client".into(), "server".into()))?;
        still_to_disk(&swap, Instant::now())?;
        direct(&scene.cluster)?;
        wait_until("a refusal", scaled(Duration::from_secs(60))?, || {
            Ok((!server.control(&["stats"])?.contains("\"rejected\":0")).then_some(()))
        })?;
        may_lock("unlimited:unlimited")?;
        wait_for_state(swap.client, "up", scaled(Duration::from_secs(60))?)?;
        program.say("check")?;
        all_right(&program.finish(scaled(Duration::from_secs(120))?)?, 24, 1)?;
        ensure!(swap.moved()?.lost == 0);
        recovered(&swap)?;
        swap.end()?;
        server.stop()
    })
}

#[test]
fn nonsense_is_refused_in_one_line() -> Result<()> {
    on_cluster(|scene| {
        let name = scene.cluster.name();
        for (fault, says) in [
            (&["link", "nobody", "down"][..], "nobody"),
            (&["link", "server", "sideways"], "sideways"),
            (&["loss", "101%"], "101%"),
            (&["delay", "soon"], "soon"),
            (&["delay", "9999999999999999999s"], "a year"),
            (&["partition", "client", "client"], "client"),
            (&["partition", "client", "nobody"], "nobody"),
            (&["pause", "nobody"], "nobody"),
        ] {
            let output = rapidswap::run(&[&["--name", name, "fault"][..], fault].concat())?;
            let line = rapidswap::refusal(&output)?;
            ensure!(line.contains(says), "{line}");
        }
        direct(&scene.cluster)
    })
}
