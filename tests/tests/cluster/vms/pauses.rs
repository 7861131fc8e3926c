//! The server stands still for a minute: reclaim goes on to the disk, and what
//! comes back is right, or is refused, but never wrong.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rapidswap_protocol::{ExitStatus, Output};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::remote_module::{count, status, wait_for_state};
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::{Scene, on_cluster, scaled};
use rapidswap_tests::steps::{Kind, Steps};
use rapidswap_tests::swap_area::Backing;
use rapidswap_tests::wait::wait_until;

const PAUSE: Duration = Duration::from_secs(60);

/// From the pause until pages reach the disk: the module gives up a store
/// after 3 s and declines the following ones.
const TO_DISK: Duration = Duration::from_secs(20);

/// From the end of the pause until stores go to the server again.
const BACK: Duration = Duration::from_secs(60);

/// How long a fault may wait where it cannot be killed.
const KILLED: Duration = Duration::from_secs(5);

/// What a program whose page was lost dies of: of the second if the page had
/// what it needs to handle the first.
const LOST: [i32; 2] = [nix::libc::SIGBUS, nix::libc::SIGSEGV];

/// A second program can be paged out, to disk, while the server is out of
/// reach since `start`, and be right.
pub(crate) fn still_to_disk(swap: &Arrangement<'_>, start: Instant) -> Result<()> {
    let before = swap.moved()?;
    let limit = Limit::new(swap.client, 8)?;
    let program = limit.start(&[PAGE_PATTERN, "verify", "--mib", "24"])?;
    wait_until("pages on the disk", scaled(TO_DISK)?, || {
        let moved = swap.moved()?;
        Ok((moved.disk_writes > before.disk_writes + 1024).then_some(()))
    })?;
    eprintln!("reclaim went on to disk after {:?}", start.elapsed());
    // All its pages are on the disk, so that it needs no server to finish.
    all_right(&program.finish(scaled(PAUSE)?)?, 24, 1).map(drop)
}

/// Pauses the server, checks that a second program can be paged out to disk
/// meanwhile, and resumes it after a minute in all.
fn pause(scene: &Scene, swap: &Arrangement<'_>) -> Result<()> {
    let start = Instant::now();
    scene.server.node.pause()?;
    still_to_disk(swap, start)?;
    thread::sleep(PAUSE.saturating_sub(start.elapsed()));
    scene.server.node.resume()?;
    Ok(())
}

/// Whether a program had all its bytes; an error if any was wrong.
pub(crate) fn right_or_lost(output: &Output, mib: u64, times: u64) -> Result<bool> {
    // `time` passes a signal on as 128 and its number.
    match output.status {
        ExitStatus::Signal(signal) if LOST.contains(&signal) => Ok(false),
        ExitStatus::Code(code) if LOST.contains(&(code - 128)) => Ok(false),
        _ => all_right(output, mib, times).map(|_| true),
    }
}

/// As before: the session is up, and pages go to the server.
pub(crate) fn recovered(swap: &Arrangement<'_>) -> Result<()> {
    wait_for_state(swap.client, "up", scaled(BACK)?)?;
    let before = swap.moved()?;
    let limit = Limit::new(swap.client, 8)?;
    all_right(&limit.run(&[PAGE_PATTERN, "verify", "--mib", "16"])?, 16, 1)?;
    let moved = swap.moved()?;
    ensure!(
        moved.stored > before.stored,
        "stores did not come back: {moved}"
    );
    Ok(())
}

#[test]
fn in_the_middle_of_loads() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 128, Backing::Disk)?;
        let limit = Limit::new(swap.client, 16)?;
        let command = [PAGE_PATTERN, "verify", "--mib", "32", "--order", "random"];
        let mut program = limit.start(&[&command[..], &["--passes", "2"]].concat())?;
        wait_until("loads", scaled(Duration::from_secs(60))?, || {
            Ok((swap.moved()?.loaded > 500).then_some(()))
        })?;
        if program.ended()?.is_some() {
            bail!("the program ended before the pause");
        }
        pause(scene, &swap)?;
        let whole = right_or_lost(&program.finish(scaled(Duration::from_secs(180))?)?, 32, 2)?;
        let moved = swap.moved()?;
        eprintln!("whole: {whole}; {moved}");
        // A program only dies of a load that failed.
        ensure!(whole || moved.lost + moved.load_failures > 0, "{moved}");
        recovered(&swap)?;
        swap.end()
    })
}

#[test]
fn in_the_middle_of_stores() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 128, Backing::Disk)?;
        let limit = Limit::new(swap.client, 8)?;
        let mut program = limit.start(&[PAGE_PATTERN, "verify", "--mib", "48", "--hold"])?;
        wait_until("stores", scaled(Duration::from_secs(60))?, || {
            Ok((swap.moved()?.stored > 1000).then_some(()))
        })?;
        if program.ended()?.is_some() {
            bail!("the program ended before the pause");
        }
        pause(scene, &swap)?;
        // Filling needed no load, so it has gone on, through the disk.
        program.line()?;
        program.say("check")?;
        // The server has kept the memory, so that no page is lost.
        all_right(&program.finish(scaled(Duration::from_secs(180))?)?, 48, 1)?;
        let moved = swap.moved()?;
        eprintln!("{moved}");
        ensure!(moved.lost + moved.load_failures == 0, "{moved}");
        // An error ends the stores that are under way, and all of them reach
        // the disk.
        ensure!(
            moved.store_failures > 0 && moved.disk_writes >= moved.store_failures,
            "{moved}"
        );
        recovered(&swap)?;
        swap.end()
    })
}

/// Pauses the server, and waits until the module has noticed.
fn pause_until_down(scene: &Scene, swap: &Arrangement<'_>) -> Result<()> {
    scene.server.node.pause()?;
    wait_until("the end of the session", scaled(TO_DISK)?, || {
        let state = status(swap.client)?.remove("state");
        Ok((state.as_deref() != Some("up")).then_some(()))
    })
}

/// How many threads of programs there are.
fn programs(swap: &Arrangement<'_>) -> Result<usize> {
    let tasks = swap
        .client
        .sh("cat /proc/[0-9]*/task/*/comm 2>/dev/null || true")?;
    Ok(tasks.lines().filter(|comm| *comm == "page-pattern").count())
}

/// Has `late` miss its first page when as many loads as `others` wait already,
/// and kills it while it waits as well.
fn kill_behind(swap: &Arrangement<'_>, mut late: Steps, others: u64) -> Result<()> {
    let parked = |more_than: u64| -> Result<Option<()>> {
        Ok((count(swap.client, "loads_parked")? > more_than).then_some(()))
    };
    wait_until("loads that wait", scaled(TO_DISK)?, || parked(others - 1))?;
    let before = programs(swap)?;
    late.begin("check 1 0..1")?;
    wait_until("the fault", scaled(TO_DISK)?, || parked(others))?;
    drop(late);
    wait_until("the end of what was killed", scaled(KILLED)?, || {
        Ok((programs(swap)? < before).then_some(()))
    })
}

/// A server that does not answer takes nothing from who comes later: what is
/// read ahead of others leaves him the credits to ask for his page, and he can
/// be killed while he waits.
#[test]
fn others_that_read_ahead_do_not_hold_up_a_fault() -> Result<()> {
    /// As many as need all that can be asked for at a time, and more.
    const READERS: usize = 4;
    const READ: u64 = 1024;
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 128, Backing::Disk)?;
        let limit = Limit::new(swap.client, 48)?;
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let mut reader = Steps::start(&limit, 8, Kind::Anonymous)?;
            reader.run("fill 1 0..2048; pageout 0..2048; settle")?;
            // So that much is read ahead from here on.
            reader.check("check 1 0..1024", READ)?;
            readers.push(reader);
        }
        let mut late = Steps::start(&limit, 1, Kind::Anonymous)?;
        late.run("fill 1 0..256; pageout 0..256; settle")?;

        pause_until_down(scene, &swap)?;
        for reader in &mut readers {
            reader.begin("check 1 1024..2048")?;
        }
        kill_behind(&swap, late, READERS as u64)?;

        scene.server.node.resume()?;
        for mut reader in readers {
            reader.answer()?.right(READ)?;
            reader.end()?;
        }
        let moved = swap.moved()?;
        ensure!(moved.lost + moved.load_failures == 0, "{moved}");
        drop(limit);
        recovered(&swap)?;
        swap.end()
    })
}

/// However many threads miss a server, who comes after them can be killed while
/// he waits as well.
#[test]
fn more_faults_than_can_be_out_hold_up_nobody() -> Result<()> {
    const THREADS: u64 = 100;
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let limit = Limit::new(swap.client, 48)?;
        let mut crowd = Steps::start(&limit, 8, Kind::Anonymous)?;
        crowd.run("fill 1 0..2048; pageout 0..2048; settle")?;
        let mut late = Steps::start(&limit, 1, Kind::Anonymous)?;
        late.run("fill 1 0..256; pageout 0..256; settle")?;

        pause_until_down(scene, &swap)?;
        // Apart, so that none asks for another one's page.
        let pages = (0..THREADS).map(|thread| thread * 16);
        let checks: Vec<_> = pages
            .map(|page| format!("check 1 {page}..{}", page + 1))
            .collect();
        crowd.begin(&checks.join(" | "))?;
        kill_behind(&swap, late, THREADS)?;

        scene.server.node.resume()?;
        crowd.answer()?.right(THREADS)?;
        crowd.end()?;
        let moved = swap.moved()?;
        ensure!(moved.lost + moved.load_failures == 0, "{moved}");
        drop(limit);
        recovered(&swap)?;
        swap.end()
    })
}
