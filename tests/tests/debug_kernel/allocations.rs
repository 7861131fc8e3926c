//! Memory that is not to be had while the module is loaded, and while its session
//! ends and another is opened.

use anyhow::{Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::failing::{Failing, FailingAllocations, function, functions};
use rapidswap_tests::guest::Guest;
use rapidswap_tests::kernel_log::Mark;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::remote_module::{CONNECT, count, rmmod, wait_for_state};
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::{on_cluster, scaled};
use rapidswap_tests::swap_area::{self, Backing};
use rapidswap_tests::wait::wait_until;

/// Checks that the kernel's log has not said these words since.
fn unsaid(mark: &Mark<'_>, words: &str) -> Result<()> {
    let lines = mark.since()?;
    let said = lines.iter().find(|line| line.contains(words));
    ensure!(said.is_none(), "something else is blamed: {said:?}");
    Ok(())
}

/// Loads the module for a server that nobody asks, its `n`th allocation failing.
/// Says whether it has as many.
fn load(client: &Guest, failing: &FailingAllocations<'_>, n: u64) -> Result<bool> {
    let before = failing.count()?;
    let script = r#"echo "$0" > /proc/self/fail-nth &&
        exec insmod /rapidswap/modules/remoteswap.ko sip=127.0.0.1"#;
    let output = client.run(&["sh", "-c", script, &n.to_string()])?;
    let failed = failing.count()? > before;
    if output.status.success() {
        // It does without that memory, and goes again.
        rmmod(client, "remoteswap")?;
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(failed && said.contains("allocate memory"), "{n}: {said}");
    }
    Ok(failed)
}

/// What it refuses to be loaded without is given back, or the next try would
/// find a module, a name or a backend that is there already.
#[test]
fn each_allocation_of_loading_the_module_may_fail() -> Result<()> {
    on_cluster(|scene| {
        let client = &scene.client;
        swap_area::clear(client)?;
        let code = function(client, "do_one_initcall")?;
        let failing = FailingAllocations::new(client, &code, 0, 1000)?;
        let mark = Mark::new(client)?;
        let mut n = 1;
        while load(client, &failing, n)? {
            n += 1;
        }
        drop(failing);
        unsaid(&mark, "unload the one that is there")?;
        eprintln!("{} allocations", n - 1);
        ensure!(n > 10, "{} allocations are too few", n - 1);
        let swap = Arrangement::remote(scene, 16, Backing::Disk)?;
        swap.end()
    })
}

/// How many allocations fail before it is enough. After each the module waits up
/// to five seconds before it tries again.
const TIMES: u64 = 40;

#[test]
fn sessions_are_opened_though_allocations_fail() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let client = swap.client;
        let code = functions(client, "remoteswap")?;
        let mark = Mark::new(client)?;
        let failing = FailingAllocations::new(client, &code, 3, TIMES)?;
        while failing.count()? < TIMES {
            let before = count(client, "sessions")?;
            let cut = Failing::new(client, &["remoteswap_shim_post_send"], 1, 1)?;
            wait_until("the session to end", scaled(CONNECT)?, || {
                Ok((cut.count()? == 1).then_some(()))
            })?;
            drop(cut);
            wait_until("another session", 4 * scaled(CONNECT)?, || {
                Ok((count(client, "sessions")? > before).then_some(()))
            })?;
        }
        drop(failing);
        wait_for_state(client, "up", scaled(CONNECT)?)?;
        unsaid(&mark, "no RDMA device of this machine")?;
        let limit = Limit::new(client, 6)?;
        all_right(&limit.run(&[PAGE_PATTERN, "verify", "--mib", "12"])?, 12, 1)?;
        let moved = swap.moved()?;
        eprintln!("{moved}");
        ensure!(moved.stored > 0 && moved.loaded > 0, "{moved}");
        ensure!(moved.load_failures + moved.lost == 0, "{moved}");
        drop(limit);
        swap.end()
    })
}
