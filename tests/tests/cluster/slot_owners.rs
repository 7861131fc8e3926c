//! Which memory group (cgroup v1) a slot is counted for, while pages of several
//! slots come back as one folio.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::scene::{on_cluster, scaled};
use rapidswap_tests::setting::{PAGE_CLUSTER, Setting, no_workers, only_folios, ram_fault};
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area;
use rapidswap_tests::wait::wait_until;

const MIB: u64 = 8;

/// There is room for all of it: what leaves does so on advice.
const ROOMY_MIB: u64 = 16;

/// How long it may take until something is under way.
const SOON: Duration = Duration::from_secs(20);

/// Whose programs have ended. What was counted for another one shows here, or
/// when the group goes.
fn nothing_left(groups: &[&Limit<'_>]) -> Result<()> {
    for (index, group) in groups.iter().enumerate() {
        let left = pages_out(group)?;
        ensure!(left == 0, "{left} pages of swap are still group {index}'s");
    }
    Ok(())
}

fn pages_out(group: &Limit<'_>) -> Result<u64> {
    Ok(group.paged_out()?.bytes() / 4096)
}

/// While a group reclaims to make room for a large folio, another thread gives one
/// of its pages up, and another group's page gets that slot: the folio is not to
/// come then, and each slot stays its own group's.
#[test]
fn a_slot_becomes_another_groups_while_there_is_made_room() -> Result<()> {
    const ORDER: u32 = 5;
    // Room for what a thread needs, and for no such folio.
    const ROOM: u64 = 31;
    // Less than is asked to leave.
    const AREA_KIB: &str = "4096";
    const DEFRAG: &str = "/sys/kernel/mm/transparent_hugepage/defrag";
    on_cluster(|scene| {
        let swap = Arrangement::ram(scene, &["size_mib=64", "delay_ms=900"])?;
        let client = swap.client;
        swap_area::off(client, &swap.area)?;
        client.ok(&["mkswap", &swap.area, AREA_KIB])?;
        swap_area::on(client, &swap.area, true)?;
        let _only = only_folios(client, ORDER)?;
        let _alone = no_workers(client, false)?;
        let _reclaims = Setting::new(client, DEFRAG, "madvise")?;
        let late = |fault: &str| ram_fault(client, "store_fault", fault);

        let (tight, roomy) = (
            Limit::new(client, ROOMY_MIB)?,
            Limit::new(client, ROOMY_MIB)?,
        );
        let mut one = Steps::start(&tight, MIB, Kind::Anonymous)?;
        let mut other = Steps::start(&roomy, MIB, Kind::Anonymous)?;
        one.run("huge 0..32; fill 1 0..32; pageout 0..32; settle")?;
        one.run("fill 2 512..1024")?;
        other.run("fill 3 0..1199")?;
        // What has to go next was not just used, and the program itself is there.
        tight.set(2)?;
        one.run("check 2 1022..1023 | check 2 1023..1024")?;
        // What was charged beforehand on this processor is given back.
        other.run("fill 3 1199..1200")?;
        tight.leave(ROOM)?;
        late("delay")?;
        one.begin("either 1 0..32 | dontneed 5..6")?;
        wait_until("stores that are late", scaled(SOON)?, || {
            Ok((swap.leaving()? > 0).then_some(()))
        })?;
        late("none")?;
        other.run("pageout 0..1200")?;
        // With no swap left, nothing else would spare it the killer.
        tight.set_once(ROOMY_MIB)?;
        eprintln!("{} pages in swap", swap_area::used(client)?);
        let found = one.answer()?;
        ensure!(
            (found.corrupt_bytes, found.zero_pages) == (0, 1),
            "{found:?}"
        );
        other.check("settle; check 3 0..1200", 1200)?;

        one.end()?;
        other.end()?;
        nothing_left(&[&tight, &roomy])?;
        drop((tight, roomy));
        swap.end()
    })
}

/// While a large folio is loaded its program gives half of its pages up and is
/// moved to another group, with the charges of the other half.
#[test]
fn slots_are_moved_to_another_group_while_they_are_loaded() -> Result<()> {
    const ORDER: u32 = 7;
    on_cluster(|scene| {
        // It has requests for half of the pages at once.
        let swap = Arrangement::ram(scene, &["size_mib=64", "delay_ms=1500"])?;
        let client = swap.client;
        let _only = only_folios(client, ORDER)?;
        let late = |fault: &str| ram_fault(client, "load_fault", fault);
        let (from, to) = (
            Limit::new(client, ROOMY_MIB)?,
            Limit::new(client, ROOMY_MIB)?,
        );
        to.set_parameter("memory.move_charge_at_immigrate", "1")?;

        let mut program = Steps::start(&from, MIB, Kind::Anonymous)?;
        program.run("huge 0..128; fill 1 0..128; pageout 0..128; settle")?;
        let pid = from.pid_of("page-pattern")?;
        late("delay")?;
        program.begin("check 1 100..101 | dontneed 0..64")?;
        wait_until("half of it to be given up", scaled(SOON)?, || {
            let status = client.read(&format!("/proc/{pid}/status"))?;
            let swapped = status.lines().find(|line| line.starts_with("VmSwap:"));
            let swapped = swapped.context("no VmSwap")?;
            Ok(swapped.ends_with(" 256 kB").then_some(()))
        })?;
        to.set_parameter("cgroup.procs", &pid.to_string())?;
        late("none")?;
        program.answer()?.right(1)?;
        program.check("check zero 0..64; check 1 64..128", 128)?;

        program.end()?;
        nothing_left(&[&from, &to])?;
        drop((from, to));
        swap.end()
    })
}

/// A child has given one page of a large folio up, so that its parent alone has
/// that slot. The other slots stay the child's, too, and counted.
#[test]
fn slots_that_others_have_as_well_stay_counted() -> Result<()> {
    const ORDER: u32 = 4;
    on_cluster(|scene| {
        let swap = Arrangement::ram(scene, &["size_mib=64", "deadline_ms=8000", "delay_ms=4000"])?;
        let client = swap.client;
        let _only = only_folios(client, ORDER)?;
        let _alone = Setting::new(client, PAGE_CLUSTER, "0")?;
        let late = |fault: &str| ram_fault(client, "load_fault", fault);
        let group = Limit::new(client, ROOMY_MIB)?;
        let mut program = Steps::start(&group, MIB, Kind::Anonymous)?;
        program.run("huge 0..16; fill 1 0..16; fill 1 512..513; pageout 0..513; settle")?;
        late("delay")?;
        // It lives for as long as that takes.
        program.run("child dontneed 5..6; check 1 512..513")?;
        wait_until("the child's load", scaled(SOON)?, || {
            Ok((pages_out(&group)? == 16).then_some(()))
        })?;
        late("none")?;
        program.check("check 1 5..6", 1)?;
        let left = pages_out(&group)?;
        program.check("join", 1)?;
        ensure!(left == 15, "{left} of 15 pages are counted");

        program.check("check 1 0..16; check 1 512..513", 17)?;
        program.end()?;
        nothing_left(&[&group])?;
        drop(group);
        swap.end()
    })
}
