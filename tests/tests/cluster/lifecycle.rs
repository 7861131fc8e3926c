//! Turning it off and on again.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::kernel_log::Mark;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::memory_server::MEMORY_SERVER;
use rapidswap_tests::remote_module::{connect, load_for, rmmod};
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::{on_cluster, scaled};
use rapidswap_tests::swap_area::{self, Backing};

fn verify(swap: &Arrangement<'_>) -> Result<()> {
    let limit = Limit::new(swap.client, 8)?;
    all_right(&limit.run(&[PAGE_PATTERN, "verify", "--mib", "16"])?, 16, 1).map(drop)
}

#[test]
fn swapoff_rmmod_insmod_swapon() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        for round in 0..3 {
            verify(&swap).with_context(|| format!("round {round}"))?;
            swap_area::off(swap.client, &swap.area)?;
            ensure!(swap_area::attached(swap.client)? == 0);
            rmmod(swap.client, "remoteswap")?;
            ensure!(swap_area::backend(swap.client)? == "none");
            connect(scene)?;
            let path = swap_area::make(swap.client, Backing::Disk)?;
            swap_area::on(swap.client, &path, true)?;
        }
        let moved = swap.moved()?;
        ensure!(moved.stored > 0 && moved.disk_writes == 0, "{moved}");
        swap.end()
    })
}

#[test]
fn rmmod_is_refused_while_swap_is_on() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let output = swap.client.run(&["rmmod", "remoteswap"])?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(
            !output.status.success() && stderr.contains("in use"),
            "{stderr}"
        );
        verify(&swap)?;
        swap.end()
    })
}

/// There is one backend at a time: who comes second is told whom to unload, and
/// the first goes on.
#[test]
fn a_second_backend_is_refused() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::ram(scene, &["size_mib=64"])?;
        let mark = Mark::new(swap.client)?;
        let refused = load_for(swap.client, scene.listen, &[]).expect_err("two backends");
        let refused = format!("{refused:#}");
        ensure!(refused.contains("busy"), "{refused}");
        let said = mark.since()?;
        ensure!(
            said.iter()
                .any(|line| line.contains("unload the one that is there")),
            "{said:?}"
        );
        ensure!(swap_area::backend(swap.client)? == "ram");
        verify(&swap)?;
        let moved = swap.moved()?;
        ensure!(moved.stored > 0 && moved.loaded > 0, "{moved}");
        swap.end()
    })
}

/// `swapoff` brings back what is remote.
#[test]
fn swapoff_under_a_running_program() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let limit = Limit::new(swap.client, 8)?;
        let mut program = limit.start(&[PAGE_PATTERN, "verify", "--mib", "16", "--hold"])?;
        program.line()?;
        limit.lift()?;
        let out = swap.moved()?;
        swap_area::off(swap.client, &swap.area)?;
        let moved = swap.moved()?;
        ensure!(moved.loaded > out.loaded, "swapoff loaded nothing: {moved}");
        program.say("check")?;
        all_right(&program.finish(scaled(Duration::from_secs(60))?)?, 16, 1)?;
        swap.end()
    })
}

/// Populating much memory takes minutes, for which nobody is made to wait.
#[test]
fn a_server_is_ended_before_it_is_ready() -> Result<()> {
    on_cluster(|scene| {
        swap_area::clear(&scene.client)?;
        let script = "d=$(mktemp -d); mkfifo $d/said; \"$@\" >$d/said 2>&1 & exec <$d/said
            read -r line; kill -TERM $!; echo \"$line\"; cat; wait $!; echo $?; rm -r $d";
        let listen = scene.listen.to_string();
        let server = [MEMORY_SERVER, "--listen", &listen, "--size", "256M"];
        let said = scene
            .server
            .ok(&[&["sh", "-c", script, "sh"], &server[..]].concat())?;
        let lines: Vec<_> = said.lines().collect();
        ensure!(
            matches!(lines[..], [line, "143"] if line.contains("taking memory")),
            "{said}"
        );
        Ok(())
    })
}
