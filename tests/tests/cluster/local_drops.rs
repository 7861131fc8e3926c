//! A packet that its own host drops is a lost packet to soft-RoCE, as one
//! that a switch drops is: it is sent again, and the session stays.

use anyhow::{Context, Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::guest::Guest;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::remote_module::{CONNECT, status, wait_for_state};
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::on_cluster;
use rapidswap_tests::swap_area::Backing;

const MIB: u64 = 20;
const LIMIT_MIB: u64 = 16;

/// Slower than the link, and shorter than what a page-out has in flight.
const NARROW: &str = "root tbf rate 40mbit burst 16kb limit 96kb";

/// Packets that the device was told to send and could not.
fn send_errors(guest: &Guest) -> Result<u64> {
    let text = guest.sh("cat /sys/class/infiniband/*/ports/1/hw_counters/send_err")?;
    text.trim().parse().context("read send_err")
}

#[test]
fn cost_time_and_neither_pages_nor_the_session() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let limit = Limit::new(swap.client, LIMIT_MIB)?;
        let errors = send_errors(swap.client)?;
        let sessions = status(swap.client)?.remove("sessions");

        let profile = scene.cluster.status()?.profile;
        let netdev = profile.netdev(swap.client.node.name());
        swap.client
            .sh(&format!("tc qdisc replace dev {netdev} {NARROW}"))?;
        let mib = MIB.to_string();
        let output = limit.run(&[PAGE_PATTERN, "verify", "--mib", &mib]);
        swap.client.sh(&format!("tc qdisc del dev {netdev} root"))?;
        all_right(&output?, MIB, 1)?;

        let moved = swap.moved()?;
        eprintln!("{moved}");
        let dropped = send_errors(swap.client)? - errors;
        eprintln!("{dropped} packets dropped by the client's own queue");
        ensure!(dropped > 0, "the queue dropped nothing: {moved}");
        ensure!(moved.stored > 0 && moved.loaded > 0, "{moved}");
        wait_for_state(swap.client, "up", CONNECT)?;
        let after = status(swap.client)?.remove("sessions");
        ensure!(
            after == sessions,
            "sessions went from {sessions:?} to {after:?}"
        );
        swap.end()
    })
}
