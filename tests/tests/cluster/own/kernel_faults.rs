//! Each kind of kernel fault, provoked for real, fails the test during which
//! it appears: with its kind, its node and the test's name.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nix::libc;
use rapidswap_progress::{Event, Reporter};
use rapidswap_protocol::Output;
use rapidswap_tests::guest::Guest;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::provoke::{Provoked, ends, expect, ruin};
use rapidswap_tests::scene::{Scene, options, scaled};
use rapidswap_tests::vmcore;
use rapidswap_tests::wait::wait_until;
use rapidswap_tests::watch::watch;
use rapidswap_vm::{NodeState, Occasion, Outcome, SplatKind, UpOptions, collect};
use serde_json::Value;

/// Longest time for one of the tests that are watched here.
const LIMIT: Duration = Duration::from_secs(60);

fn goes_on(scene: &Scene, guest: &Guest) -> Result<()> {
    use SplatKind::{HungTask, Warning};
    let node = guest.node.name();
    let provoked = Provoked::new(guest)?;

    let verdict = watch(scene, "warns", LIMIT, |_| provoked.fault("WARNING"));
    expect(&verdict, Outcome::GuestSplat, node, &[Warning])?;
    ensure!(verdict.seen.error.is_none(), "the test itself: {verdict}");

    // A fault between two tests is neither's.
    provoked.fault("WARNING")?;
    let verdict = watch(scene, "clean", LIMIT, |_| Ok(()));
    ensure!(verdict.outcome == Outcome::Passed, "{verdict}");
    let splats = guest.node.scan()?.splats;
    let last = splats.last().context("the fault is not on the console")?;
    ensure!(
        matches!(&last.occasion, Occasion::After(run) if run.name() == "warns"),
        "{last}"
    );

    let verdict = watch(scene, "flooded", LIMIT, |_| {
        let flood = provoked.flood()?;
        provoked.fault("WARNING")?;
        drop(flood);
        Ok(())
    });
    expect(&verdict, Outcome::GuestSplat, node, &[Warning])?;

    let verdict = watch(scene, "hangs-a-task", LIMIT, |_| {
        guest.write("/proc/sys/kernel/hung_task_timeout_secs", "1")?;
        let task = provoked.fatal("HUNG_TASK")?;
        provoked.wait_for(HungTask, 0)?;
        guest.write("/proc/sys/kernel/hung_task_timeout_secs", "0")?;
        drop(task);
        Ok(())
    });
    expect(&verdict, Outcome::GuestSplat, node, &[HungTask])?;

    warns_in_interrupt(scene, guest)?;
    oopses(scene, guest)?;
    runs_out_of_memory(scene, guest)?;
    a_trap_is_a_programs_own(scene, guest)
}

/// Whether what follows these words on the console is the trace of an interrupt.
/// One that comes while a program runs has the program's stack in the kernel.
fn is_of_an_interrupt(guest: &Guest, words: &str) -> Result<()> {
    const ENTRIES: [&str; 2] = ["<IRQ>", " asm_common_interrupt+"];
    let console = guest.node.console()?;
    let trace = console.split(words).nth(1);
    ensure!(
        trace.is_some_and(|trace| ENTRIES.iter().any(|entry| trace.contains(entry))),
        "{console}"
    );
    Ok(())
}

fn warns_in_interrupt(scene: &Scene, guest: &Guest) -> Result<()> {
    let node = guest.node.name();
    let verdict = watch(scene, "warns-in-interrupt", LIMIT, |_| {
        Provoked::again(guest).load("interrupt")
    });
    expect(&verdict, Outcome::GuestSplat, node, &[SplatKind::Warning])?;
    ensure!(verdict.seen.error.is_none(), "the test itself: {verdict}");
    is_of_an_interrupt(guest, "in an interrupt")
}

/// A bad access, by a kernel that ends the task and not itself.
fn oopses(scene: &Scene, guest: &Guest) -> Result<()> {
    let verdict = watch(scene, "oopses", LIMIT, |_| {
        guest.write("/proc/sys/kernel/panic_on_oops", "0")?;
        let task = Provoked::again(guest).fatal("ACCESS_NULL")?;
        let output = task.finish(scaled(LIMIT)?)?;
        ensure!(!output.status.success(), "it survived");
        guest.write("/proc/sys/kernel/panic_on_oops", "1")
    });
    let kinds = [SplatKind::Bug, SplatKind::Oops];
    expect(&verdict, Outcome::GuestSplat, guest.node.name(), &kinds)?;
    ensure!(verdict.seen.error.is_none(), "the test itself: {verdict}");
    Ok(())
}

/// A program that takes more memory than there is, and one that takes more
/// than its group may have.
fn runs_out_of_memory(scene: &Scene, guest: &Guest) -> Result<()> {
    let verdict = watch(scene, "at-its-limit", LIMIT, |_| {
        let limit = Limit::new(guest, 8)?;
        is_killed(&limit.start(&GREEDY)?.finish(scaled(LIMIT)?)?)
    });
    ensure!(verdict.outcome == Outcome::Passed, "{verdict}");
    let verdict = watch(scene, "runs-out-of-memory", LIMIT, |_| {
        is_killed(&guest.start(&GREEDY)?.finish(scaled(LIMIT)?)?)
    });
    let kinds = [SplatKind::OutOfMemory];
    expect(&verdict, Outcome::GuestSplat, guest.node.name(), &kinds)?;
    ensure!(verdict.seen.error.is_none(), "the test itself: {verdict}");
    Ok(())
}

/// Keeps a last line that has no end.
const GREEDY: [&str; 2] = ["tail", "/dev/zero"];

fn is_killed(output: &Output) -> Result<()> {
    // Under a limit `time` says it.
    let code = output.status.shell_code();
    ensure!(code == 128 + libc::SIGKILL, "{}", output.status);
    Ok(())
}

/// What was not seen did not pass.
fn is_not_seen(scene: &Scene, guest: &Guest) -> Result<()> {
    let node = guest.node.name();
    let console = guest.node.console_path();
    let away = console.with_extension("away");
    let verdict = watch(scene, "unread", LIMIT, |_| Ok(fs::rename(&console, &away)?));
    fs::rename(&away, &console)?;
    expect(&verdict, Outcome::InfrastructureFailed, node, &[])?;
    ensure!(verdict.to_string().contains("cannot scan"), "{verdict}");
    let verdict = watch(scene, "lost", LIMIT, |_| {
        guest
            .sh("echo '** 5 printk messages dropped **' > /dev/ttyS0")
            .map(drop)
    });
    expect(&verdict, Outcome::TestFailed, node, &[])?;
    ensure!(verdict.to_string().contains("lost messages"), "{verdict}");
    let verdict = watch(scene, "seen", LIMIT, |_| Ok(()));
    ensure!(verdict.outcome == Outcome::Passed, "{verdict}");
    Ok(())
}

fn a_trap_is_a_programs_own(scene: &Scene, guest: &Guest) -> Result<()> {
    let verdict = watch(scene, "traps", LIMIT, |_| {
        // Else the console does not show what programs do.
        guest.ok(&["dmesg", "-n", "8"])?;
        // Reads from an address that no pointer can have.
        let script = "unpack 'p', pack 'Q', 0xdead << 48";
        let output = guest.run(&["perl", "-e", script])?;
        ensure!(!output.status.success(), "it survived");
        wait_until("the trap's line", scaled(LIMIT)?, || {
            let console = guest.node.console()?;
            Ok(console.contains("general protection fault").then_some(()))
        })?;
        guest.ok(&["dmesg", "-n", "5"]).map(drop)
    });
    ensure!(verdict.outcome == Outcome::Passed, "{verdict}");
    Ok(())
}

/// A processor that does nothing else: the watchdog and RCU say so from the
/// timer's interrupt.
fn locks_up(scene: &Scene, guest: &Guest) -> Result<()> {
    use SplatKind::{Lockup, RcuStall};
    let provoked = Provoked::again(guest);
    let verdict = watch(scene, "locks-up", LIMIT, |_| {
        guest.write("/proc/sys/kernel/watchdog_thresh", "1")?;
        let stall = "/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout";
        guest.write(stall, "3")?;
        let stuck = provoked.fatal("SOFTLOCKUP")?;
        provoked.wait_for(Lockup, 0)?;
        provoked.wait_for(RcuStall, 0)?;
        drop(stuck);
        Ok(())
    });
    let node = guest.node.name();
    expect(&verdict, Outcome::GuestSplat, node, &[Lockup, RcuStall])
}

/// A panic of Rust code that QEMU is not told of: the kernel restarts, which
/// the machine does not, and the console says why.
fn panics_alone(scene: &Scene, guest: &Guest) -> Result<()> {
    use SplatKind::{Bug, Panic, RustPanic};
    let node = guest.node.name();
    let before = scene.present()?.len();
    let verdict = watch(scene, "panics-alone", LIMIT, |_| {
        let provoked = Provoked::again(guest);
        provoked.unbind_pvpanic()?;
        ends(provoked.load_fatal("rust_panic")?)
    });
    let kinds = [RustPanic, Bug, Panic];
    expect(&verdict, Outcome::GuestPanic, node, &kinds)?;
    let gone: Vec<_> = verdict.seen.gone.iter().map(|(node, _)| node).collect();
    ensure!(gone == [node] && scene.present()?.len() == before - 1);
    let text = verdict.to_string();
    ensure!(text.contains("rust_panic.rs"), "not where: {text}");
    Ok(())
}

/// A panic in the keyboard's interrupt, of a node that may not answer any more.
fn gives_up_at_a_key(scene: &Scene, guest: &Guest) -> Result<()> {
    let node = guest.node.name();
    let start = Instant::now();
    Provoked::again(guest).panic_in_interrupt()?;
    let gone = wait_until("the node's end", scaled(LIMIT)?, || {
        let nodes = scene.cluster.status()?.nodes.into_iter();
        let mut state = nodes.filter(|status| status.name == node).map(|n| n.state);
        Ok(state.find_map(|state| match state {
            NodeState::Gone(gone) => Some(gone),
            _ => None,
        }))
    })?;
    eprintln!("{} {:?} after a key", gone.reason, start.elapsed());
    ensure!(gone.outcome == Outcome::GuestPanic, "{gone:?}");
    ensure!(Provoked::again(guest).count(SplatKind::Panic)? == 1);
    Ok(())
}

/// The same while a test runs, and perhaps a program that prints: the console is
/// its own then, and what the panic says comes after QEMU was told of it.
fn panics_in_interrupt(scene: &Scene, guest: &Guest, prints: bool) -> Result<()> {
    let verdict = watch(scene, "panics-in-interrupt", LIMIT, |scene| {
        let _printing = match prints {
            true => Some(Provoked::new(guest)?.prints()?),
            false => None,
        };
        gives_up_at_a_key(scene, guest)
    });
    let node = guest.node.name();
    expect(&verdict, Outcome::GuestPanic, node, &[SplatKind::Panic])?;
    ensure!(verdict.seen.error.is_none(), "the test itself: {verdict}");
    is_of_an_interrupt(guest, "Kernel panic - not syncing")
}

/// A panic that QEMU is told of, on a console where programs and the kernel
/// write as fast as they can.
fn panics_in_a_flood(scene: &Scene, guest: &Guest) -> Result<()> {
    let node = guest.node.name();
    let before = scene.present()?.len();
    let verdict = watch(scene, "panics-in-a-flood", LIMIT, |_| {
        let provoked = Provoked::new(guest)?;
        let _flood = provoked.flood()?;
        ends(provoked.fatal("PANIC")?)
    });
    expect(&verdict, Outcome::GuestPanic, node, &[SplatKind::Panic])?;
    let gone: Vec<_> = verdict.seen.gone.iter().map(|(node, _)| node).collect();
    ensure!(gone == [node] && scene.present()?.len() == before - 1);
    Ok(())
}

/// A panic of a kernel that was told not to restart.
fn panics_and_stays(scene: &Scene, guest: &Guest) -> Result<()> {
    let verdict = watch(scene, "panics-and-stays", LIMIT, |_| {
        guest.write("/proc/sys/kernel/panic", "0")?;
        ends(Provoked::new(guest)?.fatal("PANIC")?)
    });
    let node = guest.node.name();
    expect(&verdict, Outcome::GuestPanic, node, &[SplatKind::Panic])?;
    wait_until("the machine's stop", scaled(LIMIT)?, || {
        let status = guest.node.qmp("query-status", Value::Null)?;
        Ok((status["running"] == false).then_some(()))
    })
}

/// What the panic of a node comes to for whoever did something else on it.
fn is_told_of(scene: &Scene, guest: &Guest) -> Result<()> {
    let (reporter, events) = Reporter::channel();
    let late: Result<()> = Err(anyhow!("it was late"));
    let judged = scene.cluster.judge(late, &reporter);
    drop(reporter);
    let error = judged.err().context("a panic is no success")?;
    let text = error.to_string();
    let cause: &rapidswap_vm::Error = error.downcast_ref().with_context(|| text.clone())?;
    let node = guest.node.name();
    ensure!(
        cause.outcome() == Outcome::GuestPanic && cause.node() == Some(node),
        "{text}"
    );
    ensure!(text.ends_with("; then: it was late"), "{text}");
    let events: Vec<Event> = events.iter().collect();
    let panic = events.iter().any(|event| {
        matches!(event, Event::KernelFault { node: of, kind, .. } if of == node && kind == "panic")
    });
    let gone = events.iter().any(|event| {
        matches!(event, Event::NodeGone { node: of, outcome, .. } if of == node && outcome == "guest_panic")
    });
    ensure!(panic && gone, "{events:?}");
    Ok(())
}

/// The memory of a node whose kernel gave up is there to be looked at.
fn is_dumped(scene: &Scene, guest: &Guest) -> Result<()> {
    let dir = tempfile::tempdir()?;
    collect(&scene.cluster, dir.path(), true)?;
    vmcore::check(&dir.path().join(guest.node.name()).join("vmcore"))
}

#[test]
fn a_panic_fails_its_test_on_its_node_and_leaves_its_memory() -> Result<()> {
    // Little, because all of it is dumped.
    let small = UpOptions {
        memory_mib: 256,
        server_mib: 16,
        ..options("test-faults")?
    };
    ruin(&small, |scene| {
        panics_in_a_flood(scene, &scene.client)?;
        is_told_of(scene, &scene.client)?;
        panics_in_interrupt(scene, &scene.server, false)
    })?;
    ruin(&small, |scene| {
        panics_in_interrupt(scene, &scene.client, false)?;
        panics_in_a_flood(scene, &scene.server)?;
        is_dumped(scene, &scene.server)
    })?;
    ruin(&small, |scene| {
        panics_in_interrupt(scene, &scene.server, true)?;
        panics_and_stays(scene, &scene.client)
    })?;
    ruin(&small, |scene| {
        panics_in_interrupt(scene, &scene.client, true)?;
        panics_and_stays(scene, &scene.server)
    })
}

#[test]
fn each_kind_fails_its_test_on_its_node() -> Result<()> {
    // The second processor answers while the first does nothing else.
    let two = UpOptions {
        cpus: 2,
        ..options("test-faults")?
    };
    ruin(&two, |scene| {
        for guest in [&scene.client, &scene.server] {
            goes_on(scene, guest)?;
        }
        for guest in [&scene.client, &scene.server] {
            // It goes on about that until its end.
            locks_up(scene, guest)?;
            gives_up_at_a_key(scene, guest)?;
        }
        Ok(())
    })
}

#[test]
fn a_rust_panic_fails_its_test_on_its_node() -> Result<()> {
    ruin(&options("test-faults")?, |scene| {
        is_not_seen(scene, &scene.client)?;
        is_not_seen(scene, &scene.server)?;
        panics_alone(scene, &scene.client)?;
        panics_alone(scene, &scene.server)
    })
}
