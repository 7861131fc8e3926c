//! The clocks of guests that their host could not run while they booted.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rapidswap_tests::guest::Guest;
use rapidswap_tests::processes::{Process, tree};
use rapidswap_tests::rapidswap;
use rapidswap_vm::Cluster;

const NAME: &str = "test-clocks";

/// A good part of the 100 ms in which Linux measures the APIC's timer.
const STALL: Duration = Duration::from_millis(60);

/// What a guest runs between two stalls: less than a tick.
const RUN: Duration = Duration::from_millis(3);

/// How often, so that the stalls reach beyond where timers are measured, which
/// is some hundred milliseconds of running after the first instruction.
const STALLS: u32 = 150;

/// What guests sleep.
const ASLEEP: Duration = Duration::from_secs(1);

fn all(machines: &[Process], signal: Signal) -> Result<()> {
    for machine in machines.iter().filter(|machine| machine.runs()) {
        kill(Pid::from_raw(i32::try_from(machine.pid)?), signal)?;
    }
    Ok(())
}

/// Brings a cluster up and does not let its machines run most of the time.
fn up_with_stalls() -> Result<()> {
    let mut up = rapidswap::command(&[
        "up",
        "--name",
        NAME,
        "--accel",
        "tcg",
        "--memory",
        "256M",
        "--cpus",
        "2",
        "--no-swap",
        "--no-link",
        "--cold",
    ])
    .spawn()?;
    let mut stalls = 0;
    while up.try_wait()?.is_none() {
        let mut machines = tree(up.id())?;
        machines.retain(Process::is_qemu);
        if machines.len() == 2 && stalls < STALLS {
            all(&machines, Signal::SIGSTOP)?;
            thread::sleep(STALL);
            all(&machines, Signal::SIGCONT)?;
            stalls += 1;
        }
        thread::sleep(RUN);
    }
    ensure!(up.wait()?.success() && stalls == STALLS, "{stalls} stalls");
    Ok(())
}

/// What the kernel says of its measurements.
fn measured(console: &str) -> Result<()> {
    ensure!(
        !console.contains("PIT"),
        "the host's rate is known: {console}"
    );
    let words = "not consistent with PM-Timer: ";
    if let Some((_, said)) = console.split_once(words) {
        let ms = said.split("ms").next().context("no time")?;
        ensure!(ms.parse::<u32>()? >= 100, "measured for {ms} ms of 100");
    }
    Ok(())
}

/// The time of the host and that of a guest for a guest's sleep.
fn sleeps(guest: &Guest, cpu: u32) -> Result<(f64, f64)> {
    let script = format!(
        "cut -d ' ' -f 1 /proc/uptime; sleep {}; cut -d ' ' -f 1 /proc/uptime",
        ASLEEP.as_secs()
    );
    let start = Instant::now();
    let output = guest.ok(&["taskset", "-c", &cpu.to_string(), "sh", "-c", &script])?;
    let host = start.elapsed().as_secs_f64();
    let mut read = output.lines().map(str::parse::<f64>);
    let mut next = || -> Result<f64> { Ok(read.next().context("no time")??) };
    let (before, after) = (next()?, next()?);
    Ok((host, after - before))
}

fn keep_time(cluster: &Cluster) -> Result<()> {
    let asked = ASLEEP.as_secs_f64();
    for node in cluster.nodes()? {
        measured(&node.console()?)?;
        let guest = Guest::new(node);
        for cpu in [0, 1] {
            let (host, own) = sleeps(&guest, cpu)?;
            eprintln!(
                "{} CPU {cpu}: {host:.2} s, {own:.2} s by itself",
                guest.node.name()
            );
            // It counts hundredths, and starting programs takes time.
            ensure!(own > asked - 0.02 && host > asked - 0.02, "it wakes early");
            ensure!(own < 4.0 * asked, "it wakes late");
            ensure!(own < host + 0.02, "its clock is fast");
            ensure!(host < own + 3.0 * asked, "its clock is slow");
        }
    }
    Ok(())
}

#[test]
fn a_guest_that_was_kept_waiting_while_it_booted_keeps_time() -> Result<()> {
    let brought_up = up_with_stalls();
    let cluster = Cluster::attach(NAME)?;
    let kept = brought_up.and_then(|()| keep_time(&cluster));
    cluster.down()?;
    kept
}
