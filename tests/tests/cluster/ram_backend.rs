//! The memory manager's side of it without RDMA: the RAM backend and its
//! faults. On the debug kernel with `RAPIDSWAP_KERNEL=debug`.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rapidswap_protocol::{ExitStatus, Output};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::{Scene, on_cluster, scaled};
use rapidswap_tests::setting::{PAGE_CLUSTER, Setting, only_folios, ram_fault};
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area;
use rapidswap_tests::vmstat::Moved;
use rapidswap_tests::wait::wait_until;

const MIB: u64 = 24;
const LIMIT_MIB: u64 = 12;

/// How long the backend lets an operation that never completes stay out.
const DEADLINE_MS: &str = "deadline_ms=1000";

/// Runs page-pattern over the RAM backend.
fn run(scene: &Scene, parameters: &[&str], order: &str) -> Result<(Output, Moved)> {
    let parameters = [&["size_mib=64", DEADLINE_MS][..], parameters].concat();
    let swap = Arrangement::ram(scene, &parameters)?;
    let limit = Limit::new(swap.client, LIMIT_MIB)?;
    let mib = MIB.to_string();
    let start = Instant::now();
    let command = [PAGE_PATTERN, "verify", "--mib", &mib, "--order", order];
    let program = limit.start(&command)?;
    let output = program.finish(scaled(Duration::from_secs(120))?)?;
    let moved = swap.moved()?;
    eprintln!(
        "{parameters:?}: {:?}, {}, {moved}",
        start.elapsed(),
        output.status
    );
    // With the last of its processes the program's slots are free, and swapoff
    // has nothing to bring back, whatever fault is on.
    drop(limit);
    swap.end()?;
    Ok((output, moved))
}

/// The backend has 64 requests, and what finds none free goes to the disk:
/// nothing fails, and most pages do not.
#[test]
fn without_faults() -> Result<()> {
    on_cluster(|scene| {
        for (order, times) in [("random", 1), ("fork", 4)] {
            let (output, moved) = run(scene, &[], order)?;
            all_right(&output, MIB, times)?;
            ensure!(moved.stored > 0 && moved.loaded > 0, "{moved}");
            ensure!(moved.store_failures + moved.load_failures == 0, "{moved}");
            ensure!(moved.disk_writes == moved.diverted, "{moved}");
        }
        Ok(())
    })
}

#[test]
fn stores_that_fail_go_to_the_disk() -> Result<()> {
    on_cluster(|scene| {
        let faults = ["store_fault=fail", "fault_every=3"];
        let (output, moved) = run(scene, &faults, "random")?;
        all_right(&output, MIB, 1)?;
        ensure!(moved.store_failures > 0 && moved.disk_writes > 0, "{moved}");
        Ok(())
    })
}

#[test]
fn stores_that_never_complete_go_to_the_disk() -> Result<()> {
    on_cluster(|scene| {
        let faults = ["store_fault=never", "fault_every=500"];
        let (output, moved) = run(scene, &faults, "random")?;
        all_right(&output, MIB, 1)?;
        ensure!(moved.store_failures > 0 && moved.disk_writes > 0, "{moved}");
        Ok(())
    })
}

#[test]
fn delays_change_nothing_but_time() -> Result<()> {
    on_cluster(|scene| {
        let faults = [
            "store_fault=delay",
            "load_fault=delay",
            "fault_every=20",
            "delay_ms=20",
        ];
        let (output, moved) = run(scene, &faults, "fork")?;
        all_right(&output, MIB, 4)?;
        ensure!(
            moved.store_failures == 0 && moved.load_failures == 0,
            "{moved}"
        );
        Ok(())
    })
}

/// A load that fails, at once or at its deadline, is never taken for data: the
/// program has all its bytes, or dies of the page it cannot have.
#[test]
fn loads_that_fail_are_not_taken_for_data() -> Result<()> {
    on_cluster(|scene| {
        for fault in ["load_fault=fail", "load_fault=never"] {
            let faults = [fault, "fault_every=200"];
            let (output, moved) = run(scene, &faults, "random")?;
            ensure!(moved.load_failures > 0, "{fault}: no load failed: {moved}");
            let signal = nix::libc::SIGBUS;
            let refused = output.status == ExitStatus::Code(128 + signal)
                || output.status == ExitStatus::Signal(signal);
            if !refused {
                all_right(&output, MIB, 1)?;
            }
        }
        Ok(())
    })
}

/// `swapoff` that cannot have a page gives up, poisons nothing, and succeeds
/// when the pages can be had again.
#[test]
fn swapoff_gives_up_while_loads_fail_and_loses_nothing() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::ram(scene, &["size_mib=64", DEADLINE_MS])?;
        let client = swap.client;
        let limit = Limit::new(client, LIMIT_MIB)?;
        let mib = MIB.to_string();
        let mut program = limit.start(&[PAGE_PATTERN, "verify", "--mib", &mib, "--hold"])?;
        program.line()?;
        limit.lift()?;
        ram_fault(client, "load_fault", "fail")?;
        ensure!(
            swap_area::off(client, &swap.area).is_err(),
            "swapoff succeeded without the pages"
        );
        ensure!(swap_area::attached(client)? == 1, "the area was let go");
        ram_fault(client, "load_fault", "none")?;
        swap_area::off(client, &swap.area)?;
        ensure!(swap_area::attached(client)? == 0);
        program.say("check")?;
        all_right(&program.finish(scaled(Duration::from_secs(60))?)?, MIB, 1)?;
        swap.end()
    })
}

/// Pages of a program that reads the first half of them.
const AHEAD: u64 = 512;
const HALF: u64 = AHEAD / 2;

/// What is read ahead in vain costs time, and nothing else: neither who waits
/// for such a page nor `swapoff` is told of it, and its slot stays charged.
fn reads_ahead_in_vain(scene: &Scene, fault: &str, kind: Kind) -> Result<()> {
    let fault = format!("ahead_fault={fault}");
    let swap = Arrangement::ram(scene, &["size_mib=64", "deadline_ms=20", &fault])?;
    let limit = Limit::new(swap.client, LIMIT_MIB)?;
    let mut program = Steps::start(&limit, AHEAD / 256, kind)?;
    program.run(&format!("fill 1 0..{AHEAD}; pageout 0..{AHEAD}; settle"))?;
    program.check(&format!("check 1 0..{HALF}; settle"), HALF)?;
    let moved = swap.moved()?;
    eprintln!("{fault}, {kind}: {moved}");
    ensure!(moved.loaded == HALF && moved.load_failures > 0, "{moved}");
    // Slots of pages that are on their way are charged again when these fail.
    wait_until(
        "all slots to be charged",
        scaled(Duration::from_secs(5))?,
        || {
            let charged = limit.paged_out()?.bytes();
            Ok((charged == HALF << 12).then_some(()))
        },
    )?;
    swap_area::off(swap.client, &swap.area)?;
    program.check(&format!("check 1 0..{AHEAD}"), AHEAD)?;
    program.end()?;
    drop(limit);
    swap.end()
}

#[test]
fn what_is_read_ahead_in_vain_is_asked_for_again() -> Result<()> {
    on_cluster(|scene| {
        for fault in ["never", "fail"] {
            reads_ahead_in_vain(scene, fault, Kind::File)?;
            reads_ahead_in_vain(scene, fault, Kind::Anonymous)?;
        }
        Ok(())
    })
}

/// Of a large folio that is on its way a page is taken back, so that the fault
/// that waits for it begins again: slots that are left in use stay charged.
#[test]
fn a_fault_that_begins_again_leaves_its_slots_charged() -> Result<()> {
    const ORDER: u32 = 4;
    /// Of its 16 pages one is faulted in alone then, and one is gone.
    const LEFT: u64 = 14;
    on_cluster(|scene| {
        let slow = ["size_mib=64", "fault_every=1", "delay_ms=1000"];
        let swap = Arrangement::ram(scene, &slow)?;
        let client = swap.client;
        let fault = |fault: &str| ram_fault(client, "load_fault", fault);
        let _only = only_folios(client, ORDER)?;
        let _alone = Setting::new(client, PAGE_CLUSTER, "0")?;
        let limit = Limit::new(client, LIMIT_MIB)?;
        // From 2 MiB on memory is aligned to folios.
        let mut program = Steps::start(&limit, 4, Kind::Anonymous)?;
        program.run("huge 0..1024; fill 1 0..16; pageout 0..16; settle")?;
        fault("delay")?;
        // The load begins meanwhile, whoever is first.
        let meanwhile = "fill 3 64..256; check 3 64..256; ".repeat(8);
        let taken = program.run(&format!("fill 2 0..1 | {meanwhile}dontneed 8..9"));
        fault("none")?;
        taken?;
        let moved = swap.moved()?;
        ensure!(moved.loaded == 17, "the folio, and a page: {moved}");
        let left = program.run("places 0..16")?.swapped;
        let charged = limit.paged_out()?.bytes() >> 12;
        ensure!(left == LEFT, "{left} left");
        // The two that were freed may wait for others to be given back with.
        ensure!(
            (LEFT..=LEFT + 2).contains(&charged),
            "{charged} of {left} charged"
        );
        program.end()?;
        drop(limit);
        swap.end()
    })
}
