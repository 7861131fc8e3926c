//! What only the debug kernel notices, provoked for real, fails the test during
//! which it appears, on each node.

use std::time::Duration;

use anyhow::{Result, ensure};
use rapidswap_tests::guest::Guest;
use rapidswap_tests::leaks;
use rapidswap_tests::provoke::{Provoked, expect, ruin};
use rapidswap_tests::scene::{Scene, options, scaled};
use rapidswap_tests::wait::wait_until;
use rapidswap_tests::watch::watch;
use rapidswap_vm::{Outcome, SplatKind};

/// Longest time for one of the tests that are watched here.
const LIMIT: Duration = Duration::from_secs(60);

/// The modules of `tests/provoke-ko`, and what is said when they are loaded.
/// A lock inversion ends the lock validator's work and with it RCU's checks,
/// which so come first; KASAN's report ends all of it and comes last.
const FAULTS: [(&str, SplatKind, &str); 6] = [
    ("suspicious_rcu", SplatKind::Locking, "suspicious RCU usage"),
    (
        "lock_inversion",
        SplatKind::Locking,
        "possible circular locking dependency",
    ),
    (
        "atomic_sleep",
        SplatKind::Locking,
        "sleeping function called from invalid context",
    ),
    ("shift", SplatKind::Ubsan, "shift-out-of-bounds"),
    ("unmapped", SplatKind::Warning, "kernel/dma/debug.c"),
    ("use_after_free", SplatKind::Kasan, "slab-use-after-free"),
];

fn notices(scene: &Scene, guest: &Guest) -> Result<()> {
    let node = guest.node.name();
    let provoked = Provoked::again(guest);
    let verdict = watch(scene, "clean", LIMIT, |_| Ok(()));
    ensure!(verdict.outcome == Outcome::Passed, "{verdict}");
    for (module, kind, text) in FAULTS {
        let verdict = watch(scene, module, LIMIT, |_| provoked.load(module));
        expect(&verdict, Outcome::GuestSplat, node, &[kind])?;
        ensure!(verdict.seen.error.is_none(), "the test itself: {verdict}");
        let faults = &verdict.seen.faults;
        let named = faults.iter().any(|fault| fault.text.contains(text));
        ensure!(named, "no {text}: {verdict}");
    }
    Ok(())
}

/// Memory that is lost is reported when it is 5 s old: at once if a test takes
/// as long.
fn leaks(scene: &Scene, guest: &Guest) -> Result<()> {
    let provoked = Provoked::again(guest);
    let verdict = watch(scene, "leaks", LIMIT, |_| {
        provoked.load("leak")?;
        wait_until("a leak to be found", scaled(LIMIT)?, || {
            leaks::look(guest)?;
            Ok((provoked.count(SplatKind::Sanitizer)? > 0).then_some(()))
        })
    });
    expect(
        &verdict,
        Outcome::GuestSplat,
        guest.node.name(),
        &[SplatKind::Sanitizer],
    )
}

#[test]
fn each_kind_fails_its_test_on_its_node() -> Result<()> {
    ruin(&options("test-debug-faults")?, |scene| {
        for guest in [&scene.client, &scene.server] {
            leaks(scene, guest)?;
            notices(scene, guest)?;
        }
        Ok(())
    })
}
