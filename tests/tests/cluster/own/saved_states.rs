//! Clusters that are restored instead of booted.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use rapidswap_progress::Reporter;
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::guest::Guest;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::rapidswap;
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::{Scene, guarded, options};
use rapidswap_tests::swap_area::Backing;
use rapidswap_vm::{Cluster, Fault};
use serde_json::Value;

/// A cluster from a saved state, which there is after the first `up`.
fn restored(name: &str) -> Result<Cluster> {
    let up = || Cluster::up(&options(name)?, &Reporter::auto()).context(name.to_owned());
    let cluster = up()?;
    if cluster.status()?.start.restored {
        return Ok(cluster);
    }
    cluster.down()?;
    let cluster = up()?;
    let start = cluster.status()?.start;
    ensure!(start.restored, "not restored: {start}");
    Ok(cluster)
}

/// A random number of each node, asked for by nothing that runs in the node:
/// what did would take some itself, and not always as many.
fn random(cluster: &Cluster) -> Result<Vec<String>> {
    let nodes = ["client", "server"].into_iter();
    let number = |name| Guest::new(cluster.node(name)?).read("/proc/sys/kernel/random/uuid");
    nodes.map(number).collect()
}

/// Seconds since 1970, here.
fn now() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

fn clock_is_right(guest: &Guest) -> Result<()> {
    let before = now()?;
    let there: f64 = guest.ok(&["date", "+%s.%N"])?.trim().parse()?;
    let after = now()?;
    ensure!(
        before - 1.0 < there && there < after + 1.0,
        "{there} is not between {before} and {after}"
    );
    Ok(())
}

/// A state has no disks in it, so it must not know of anything written to one.
fn saved_before_it_wrote(guest: &Guest) -> Result<()> {
    let log = guest.sh("dmesg | grep 'EXT4-fs (vda)'")?;
    let lines: Vec<&str> = log.lines().collect();
    ensure!(
        lines.len() == 2 && lines[0].contains(" ro ") && lines[1].contains("re-mounted"),
        "{log}"
    );
    let touched = guest.sh("touch /etc/hostname && grep ' / ' /proc/mounts")?;
    ensure!(touched.contains("rw"), "{touched}");
    Ok(())
}

/// Swap to the server and back, with nothing left of another cluster's pages.
fn swaps(scene: &Scene) -> Result<()> {
    let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
    let limit = Limit::new(swap.client, 8)?;
    all_right(&limit.run(&[PAGE_PATTERN, "verify", "--mib", "16"])?, 16, 1)?;
    let moved = swap.moved()?;
    ensure!(moved.stored > 0 && moved.loaded > 0, "{moved}");
    drop(limit);
    swap.end()
}

#[test]
fn two_clusters_of_one_state_share_nothing() -> Result<()> {
    let first = restored("test-state-a")?;
    let mut numbers = random(&first)?;
    guarded(first, |a| {
        let second = restored("test-state-b")?;
        numbers.extend(random(&second)?);
        numbers.sort();
        guarded(second, |b| {
            ensure!(
                numbers.windows(2).all(|pair| pair[0] != pair[1]),
                "the same random numbers: {numbers:?}"
            );
            for node in [&a.client, &a.server, &b.client, &b.server] {
                clock_is_right(node)?;
                saved_before_it_wrote(node)?;
            }

            // What one writes the other has not, and it is there to be read
            // when no memory holds it any more.
            a.client
                .sh("seq 100000 > /etc/numbers; sync; echo 3 > /proc/sys/vm/drop_caches")?;
            let sum = "5000050000";
            let add = "awk '{ s += $1 } END { printf \"%d\", s }' /etc/numbers";
            ensure!(a.client.sh(add)? == sum, "what was written is not there");
            b.client.sh("test ! -e /etc/numbers")?;

            swaps(a)?;
            swaps(b)
        })?;
        Cluster::attach("test-state-b")?.down()?;

        a.cluster.fault(&Fault::Reset("server".into()))?;
        clock_is_right(&a.server)?;
        a.server.sh("echo x > /etc/after-a-reset")?;
        swaps(a)
    })?;
    Ok(Cluster::attach("test-state-a")?.down()?)
}

/// A cache in which everything is but saved states.
fn cache_without_states(dir: &Path) -> Result<PathBuf> {
    let here = dir.join("rapidswap");
    fs::create_dir(&here)?;
    for entry in fs::read_dir(rapidswap_cache::root()?)? {
        let entry = entry?;
        if entry.file_name() != "states" {
            symlink(entry.path(), here.join(entry.file_name()))?;
        }
    }
    Ok(here.join("states"))
}

/// The one state in `states`.
fn only(states: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(states)?.collect::<std::io::Result<Vec<_>>>()?;
    let mut dirs = entries
        .iter()
        .map(|e| e.path())
        .filter(|path| path.is_dir());
    let state = dirs.next().context("no state was saved")?;
    ensure!(dirs.next().is_none(), "{entries:?}");
    Ok(state)
}

#[test]
fn a_state_that_does_not_load_is_thrown_away() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let states = cache_without_states(dir.path())?;
    let name = ["--name", "test-state-c"];
    let run = |arguments: &[&str]| -> Result<Output> {
        let mut command = rapidswap::command(&[&name, arguments].concat());
        let command = command
            .env("XDG_CACHE_HOME", dir.path())
            .stdin(Stdio::null());
        let output = command.output()?;
        ensure!(output.status.success(), "{arguments:?}: {output:?}");
        Ok(output)
    };
    // Brings it up and down again; gives how it started and what was said.
    let cycle = |arguments: &[&str]| -> Result<(Value, String)> {
        let up = run(&[&["up", "--no-swap"], arguments].concat())?;
        let status: Value = serde_json::from_slice(&run(&["status", "--json"])?.stdout)?;
        run(&["down"])?;
        let said = String::from_utf8_lossy(&up.stderr).into_owned();
        Ok((status["start"].clone(), said))
    };
    let (start, said) = cycle(&["--cold"])?;
    ensure!(
        start["reason"] == "asked for" && !states.exists(),
        "{start} {said}"
    );
    let (start, said) = cycle(&[])?;
    ensure!(start["restored"] == false, "restored from nothing: {said}");

    let state = only(&states)?;
    let file = File::options().write(true).open(state.join("client"))?;
    file.set_len(file.metadata()?.len() / 2)?;
    let (start, said) = cycle(&[])?;
    let lines = said.lines().filter(|line| line.contains("thrown away"));
    ensure!(
        start["restored"] == false && lines.count() == 1,
        "{start}\n{said}"
    );

    // The boot that followed saved another.
    ensure!(only(&states)? == state);
    let (start, said) = cycle(&[])?;
    ensure!(start["restored"] == true, "{start}\n{said}");
    let (start, said) = cycle(&["--cold"])?;
    ensure!(start["restored"] == false, "{start}\n{said}");
    Ok(())
}
