//! Several builders at once on one cache.

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use rapidswap_progress::{Event, Reporter};
use std::fs::{self, File};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::{Bench, patch_to, read};
use crate::builder::Builder;
use crate::error::Result;
use crate::git::Tree;
use crate::{Kernel, Variant};

/// More than anything here takes that waits for nobody.
const PATIENCE: Duration = Duration::from_secs(20);

fn build(builder: &Builder, variant: Variant, reporter: &Reporter) -> Result<Kernel> {
    builder.ensure(variant, Instant::now(), reporter)
}

/// Waits until a build stops at a gate; it goes on when this is dropped.
fn stopped_at(gate: &Path) -> File {
    File::options().write(true).open(gate).expect("open")
}

/// Waits for a builder to say that it waits.
fn says(events: &Receiver<Event>, note: &str) {
    loop {
        match events.recv_timeout(PATIENCE).expect("an event") {
            Event::Note { text } if text == note => return,
            _ => {}
        }
    }
}

/// What is checked out.
fn head(bench: &Bench) -> String {
    let linux = bench.builder.cache.linux();
    Tree(&linux).resolve("HEAD").expect("has one")
}

/// Another checkout with another series, on the same cache.
fn other_checkout(bench: &Bench, line: &str) -> Builder {
    let mut definition = bench.builder.definition.clone();
    let patch = &mut definition.series[0];
    patch.path = bench.dir.path().join(format!("{line}.patch"));
    patch.content = patch_to(line);
    fs::write(&patch.path, &patch.content).expect("write");
    Builder {
        definition,
        cache: bench.builder.cache.clone(),
        toolchain: bench.builder.toolchain.clone(),
    }
}

#[test]
fn kernel_and_modules_are_built_while_another_variant_is() {
    let bench = &Bench::new();
    let release = &bench.ensure().expect("builds");
    let gate = bench.gate(Variant::Debug);
    thread::scope(|scope| {
        let debug = scope.spawn(|| build(&bench.builder, Variant::Debug, &Reporter::silent()));
        let stopped = stopped_at(&gate);
        let (sender, built) = mpsc::channel();
        scope.spawn(move || {
            let module = bench.module(release);
            let host = build(&bench.builder, Variant::Host, &Reporter::silent());
            sender.send((module, host)).expect("main waits");
        });
        let built = built.recv_timeout(PATIENCE);
        let (module, host) = built.expect("they wait for nobody");
        assert_eq!(module, "first\nshim\n");
        assert_eq!(read(&host.expect("builds").vmlinux), "first\n");
        assert!(!debug.is_finished());
        drop(stopped);
        let debug = debug.join().expect("no panic").expect("builds");
        assert_eq!(read(&debug.vmlinux), "first\n");
    });
}

#[test]
fn who_needs_another_source_waits_for_all_who_build_from_this_one() {
    let bench = &Bench::new();
    bench.ensure().expect("builds");
    let (gate, before) = (bench.gate(Variant::Debug), head(bench));
    let other = &other_checkout(bench, "second");
    let (reporter, events) = Reporter::channel();
    thread::scope(|scope| {
        let debug = scope.spawn(|| build(&bench.builder, Variant::Debug, &Reporter::silent()));
        let stopped = stopped_at(&gate);
        let (sender, built) = mpsc::channel();
        scope.spawn(move || {
            let built = build(other, Variant::Release, &reporter);
            sender.send(built).expect("main waits");
        });
        says(
            &events,
            "waiting for builds from the kernel source as it is now to end: this one needs another",
        );
        let early = built.recv_timeout(Duration::from_millis(100));
        assert!(matches!(early, Err(RecvTimeoutError::Timeout)));
        assert_eq!(head(bench), before);
        drop(stopped);
        let debug = debug.join().expect("no panic").expect("builds");
        assert_eq!(read(&debug.vmlinux), "first\n");
        let built = built.recv_timeout(PATIENCE).expect("waits no more");
        assert_eq!(read(&built.expect("builds").vmlinux), "second\n");
        assert_ne!(head(bench), before);
    });
}

#[test]
fn a_second_builder_of_a_variant_waits_and_then_finds_the_kernel() {
    let bench = &Bench::new();
    bench.ensure().expect("builds");
    let gate = bench.gate(Variant::Debug);
    let (reporter, events) = Reporter::channel();
    thread::scope(|scope| {
        let first = scope.spawn(|| build(&bench.builder, Variant::Debug, &Reporter::silent()));
        let stopped = stopped_at(&gate);
        let second = scope.spawn(|| build(&bench.builder, Variant::Debug, &reporter));
        says(
            &events,
            "waiting for another build of the debug kernel to end",
        );
        assert!(!second.is_finished());
        drop(stopped);
        assert!(!first.join().expect("no panic").expect("builds").cached);
        assert!(second.join().expect("no panic").expect("is found").cached);
    });
}

#[test]
fn two_who_need_different_sources_both_come_to_an_end() {
    let bench = &Bench::new();
    let other = &other_checkout(bench, "second");
    thread::scope(|scope| {
        let builds = [
            (&bench.builder, Variant::Release, "first\n"),
            (other, Variant::Debug, "second\n"),
            (&bench.builder, Variant::Host, "first\n"),
            (other, Variant::Release, "second\n"),
        ];
        let builds = builds.map(|(builder, variant, line)| {
            let build = move || build(builder, variant, &Reporter::silent());
            (scope.spawn(build), line)
        });
        for (build, line) in builds {
            let kernel = build.join().expect("no panic").expect("builds");
            assert_eq!(read(&kernel.vmlinux), line);
        }
    });
}

/// What `clean` asks for before it removes anything.
#[test]
fn nobody_has_the_cache_alone_while_something_is_built() {
    let bench = &Bench::new();
    bench.ensure().expect("builds");
    let gate = bench.gate(Variant::Debug);
    let alone = |how| {
        let lock = bench.builder.cache.kernel().join("lock");
        let lock = File::options().write(true).open(lock).expect("open");
        Flock::lock(lock, how).map_err(|(_, errno)| errno)
    };
    thread::scope(|scope| {
        let debug = scope.spawn(|| build(&bench.builder, Variant::Debug, &Reporter::silent()));
        let stopped = stopped_at(&gate);
        let held = alone(FlockArg::LockExclusiveNonblock);
        assert_eq!(held.expect_err("is held"), Errno::EWOULDBLOCK);
        drop(stopped);
        debug.join().expect("no panic").expect("builds");
        alone(FlockArg::LockExclusive).expect("is free");
    });
}

#[test]
fn what_a_killed_check_out_left_is_put_right() {
    let bench = Bench::new();
    let kernel = bench.ensure().expect("builds");
    let file = bench.builder.cache.linux().join("mm.c");
    // HEAD still says that all is as it was.
    fs::write(&file, "half\n").expect("write");
    assert_eq!(bench.module(&kernel), "first\nshim\n");
    assert_eq!(read(&file), "first\n");
}
