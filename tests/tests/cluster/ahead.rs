//! Pages are clean before reclaim comes to them.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::{on_cluster, scaled};
use rapidswap_tests::setting::{PAGE_CLUSTER, Setting, no_workers, ram_fault};
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area::Backing;
use rapidswap_tests::wait::wait_until;

const MIB: u64 = 24;
const LIMIT_MIB: u64 = 12;

/// What a program came to that touches all of its memory once more than its
/// limit has room for.
#[derive(Debug)]
struct Reclaimed {
    /// Pages that were written before reclaim came to them.
    ahead: u64,
    /// Those that reclaim wrote.
    in_the_pass: u64,
    /// Those that it freed.
    freed: u64,
}

impl Reclaimed {
    /// Whether four of five pages were freed without any I/O.
    fn mostly_clean(&self) -> bool {
        self.in_the_pass * 5 <= self.freed
    }
}

fn reclaimed(swap: &Arrangement<'_>) -> Result<Reclaimed> {
    let limit = Limit::new(swap.client, LIMIT_MIB)?;
    let before = swap.client.vmstat()?;
    let mib = MIB.to_string();
    let command = [PAGE_PATTERN, "verify", "--mib", &mib];
    all_right(&limit.run(&command)?, MIB, 1)?;
    let after = swap.client.vmstat()?;
    let ahead = after.grown(&before, "rswpout_ahead")?;
    Ok(Reclaimed {
        ahead,
        in_the_pass: after.grown(&before, "rswpout")? - ahead,
        freed: after.grown(&before, "pgsteal_anon")?,
    })
}

#[test]
fn most_of_what_reclaim_frees_was_written_before() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let with = reclaimed(&swap)?;
        // The writer by itself: nobody writes just before they free.
        let by_writer = {
            let _alone = no_workers(swap.client, true)?;
            reclaimed(&swap)?
        };
        let without = {
            let _off = Setting::knob(swap.client, "write_ahead", "0")?;
            reclaimed(&swap)?
        };
        eprintln!("{with:?}; without workers {by_writer:?}; switched off {without:?}");
        ensure!(with.mostly_clean(), "{with:?}");
        ensure!(by_writer.mostly_clean(), "without workers {by_writer:?}");
        ensure!(
            without.ahead == 0 && !without.mostly_clean(),
            "switched off {without:?}"
        );
        swap.end()
    })
}

/// A page that was written ahead and is touched before it was freed is still
/// there: it costs no READ.
#[test]
fn what_was_written_ahead_is_still_there() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        // Reclaim takes a little and leaves much that is clean.
        let _ahead = Setting::knob(swap.client, "write_ahead", "4096")?;
        let limit = Limit::new(swap.client, LIMIT_MIB)?;
        let before = swap.client.vmstat()?;
        let mut program = Steps::start(&limit, MIB, Kind::Anonymous)?;
        // What is in the swap cache has not come back from the server.
        let _none = Setting::new(swap.client, PAGE_CLUSTER, "0")?;
        // 12 MiB and what the program itself has do not fit.
        program.run("fill 1 0..3200; settle")?;
        let time = scaled(Duration::from_secs(20))?;
        wait_until("pages written ahead", time, || {
            Ok((program.run("places 0..3200")?.cached > 256).then_some(()))
        })?;
        // A page that the program needs would have 32 others make room for it.
        limit.lift()?;
        // Those alone that are unmapped and written.
        let loaded = swap.moved()?.loaded;
        let again = program.run("cached 1 0..3200")?;
        again.right(again.cached)?;
        let (after, moved) = (swap.client.vmstat()?, swap.moved()?);
        let ahead = after.grown(&before, "rswpout_ahead")?;
        eprintln!("{ahead} written ahead, {} touched; {moved}", again.cached);
        ensure!(again.cached > 256, "{} were left", again.cached);
        // But for a page or two that the program itself has and needs for it.
        let came = moved.loaded - loaded;
        ensure!(came <= again.cached / 50, "{loaded} loads before: {moved}");
        // They were not merely between unmapping and a store.
        ensure!(ahead >= again.cached, "{ahead} written ahead");
        ensure!(
            program.run("places 0..3200")?.cached < again.cached,
            "no page was mapped again"
        );
        program.check("check 1 0..3200", 3200)?;
        program.end()?;
        drop(limit);
        swap.end()
    })
}

/// A backend that is late is not given more ahead of time, while reclaim goes
/// on with what it needs.
#[test]
fn the_writer_stops_where_the_backend_is_late() -> Result<()> {
    /// The writer waits for a second, and one store of two batches takes longer.
    const LATE: [&str; 3] = ["size_mib=64", "delay_ms=4000", "fault_every=40"];
    const LOOK: Duration = Duration::from_secs(2);
    on_cluster(|scene| {
        let swap = Arrangement::ram(scene, &LATE)?;
        let client = swap.client;
        let stores = |fault| ram_fault(client, "store_fault", fault);
        // Workers write ahead by themselves.
        let _none = Setting::knob(client, "sthd_cnt", "0")?;
        let _much = Setting::knob(client, "write_ahead", "4096")?;
        let before = client.vmstat()?;
        let ahead = || client.vmstat()?.grown(&before, "rswpout_ahead");
        let limit = Limit::new(client, LIMIT_MIB)?;
        let mut program = Steps::start(&limit, MIB, Kind::Anonymous)?;
        let mut filled = 2600;
        program.run(&format!("fill 1 0..{filled}"))?;
        let mut fill = |pages: u64| -> Result<u64> {
            let start = filled;
            filled += pages;
            program.run(&format!("fill 1 {start}..{filled}"))?;
            Ok(filled)
        };

        stores("delay")?;
        // A little at a time, until reclaim begins and the writer with it.
        while ahead()? == 0 {
            let filled = fill(16)?;
            ensure!(filled < 3400, "nothing was written ahead");
        }
        thread::sleep(LOOK);
        let first = ahead()?;
        let stored = swap.moved()?.stored;
        fill(64)?;
        let reclaimed = swap.moved()?.stored - stored;
        let late = ahead()?;

        stores("none")?;
        let filled = fill(64)?;
        let time = scaled(Duration::from_secs(20))?;
        let prompt = wait_until("pages written ahead", time, || {
            let prompt = ahead()? - late;
            Ok((prompt >= 512).then_some(prompt))
        })?;
        eprintln!(
            "{first} and then {late} written ahead to a late backend and {reclaimed} by reclaim,              {prompt} to a prompt one"
        );
        ensure!(late <= 256, "{late} pages written ahead");
        ensure!(reclaimed > 0, "reclaim did not go on");
        program.check(&format!("check 1 0..{filled}"), filled)?;
        program.end()?;
        drop(limit);
        swap.end()
    })
}
