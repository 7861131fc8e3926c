//! Wrong parameters and wrong peers: one clear line, and nothing lost.

use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::kernel_log::Mark;
use rapidswap_tests::memory_server::{MEMORY_SERVER, MemoryServer, asked};
use rapidswap_tests::rapidswap::example;
use rapidswap_tests::remote_module::{connect, load_for, rmmod, status};
use rapidswap_tests::scene::{on_cluster, scaled};
use rapidswap_tests::swap_area::{self, Backing};
use rapidswap_tests::wait::wait_until;

#[test]
fn bad_parameters_are_refused_with_one_line() -> Result<()> {
    on_cluster(|scene| {
        swap_area::clear(&scene.client)?;
        let cases = [
            ("sip", "sip=not-an-address"),
            ("sip", "sip=10.77.0.999"),
            ("sip", "sip="),
            ("sport", "sport=70000"),
            ("sport", "sport=0"),
            ("sport", "sport=-1"),
            ("rmsize", "rmsize=garbage"),
            ("rmsize", "rmsize=-5"),
            ("store_timeout_ms", "store_timeout_ms=0"),
            ("load_timeout_ms", "load_timeout_ms=99999999"),
            ("keepalive_ms", "keepalive_ms=0"),
        ];
        for (name, bad) in cases {
            let mark = Mark::new(&scene.client)?;
            // A later value of a parameter replaces an earlier one.
            let result = load_for(&scene.client, scene.listen, &[bad]);
            let loaded = result.is_ok();
            if loaded {
                rmmod(&scene.client, "remoteswap")?;
            }
            ensure!(!loaded, "{bad} was accepted");
            let lines = mark.since()?;
            let about: Vec<_> = lines.iter().filter(|line| line.contains(name)).collect();
            ensure!(about.len() == 1, "{bad}: the kernel's log says {lines:?}");
        }
        ensure!(swap_area::backend(&scene.client)? == "none");
        Ok(())
    })
}

/// A client that is none: the server says why it refuses, and its real client
/// does not notice.
#[test]
fn a_client_of_the_wrong_kind_is_rejected_with_a_reason() -> Result<()> {
    on_cluster(|scene| {
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let peer = scene.listen.to_string();
        for (option, value, reason) in [
            ("--magic", "0xdeadbeef", "magic"),
            ("--wire-version", "99", "version"),
        ] {
            let probe = [MEMORY_SERVER, "probe", "--connect", &peer, option, value];
            let output = swap.client.run(&probe)?;
            let text = String::from_utf8_lossy(&output.stdout).to_lowercase();
            ensure!(!output.status.success(), "{option} {value} was accepted");
            ensure!(
                text.contains(reason) && text.trim().lines().count() == 1,
                "{option}: {output:?}"
            );
        }
        let state = status(swap.client)?;
        ensure!(
            state.get("state").is_some_and(|state| state == "up"),
            "{state:?}"
        );
        swap.end()
    })
}

/// A server that is none: the module says what is wrong with it, stays down,
/// and can be unloaded.
#[test]
fn a_server_of_the_wrong_kind_is_refused() -> Result<()> {
    on_cluster(|scene| {
        swap_area::clear(&scene.client)?;
        let program = scene.server.install(&example("bad_peer"))?;
        let cases: [(&[&str], &str); 3] = [
            (&["--magic", "1"], "magic"),
            (&["--wire-version", "99"], "version"),
            (&["--wire-version", "99", "--reject"], "version"),
        ];
        for (port, (answer, reason)) in (9401..).zip(cases) {
            let at = SocketAddrV4::new(*scene.listen.ip(), port);
            let listen = at.to_string();
            let argv = [&[&program[..], "--listen", &listen], answer].concat();
            let mut peer = scene.server.start(&argv)?;
            peer.line()?;
            let mark = Mark::new(&scene.client)?;
            load_for(&scene.client, at, &[])?;
            let limit = scaled(Duration::from_secs(30))?;
            wait_until("a line that refuses the server", limit, || {
                let lines = mark.since()?;
                Ok(lines.iter().any(|line| line.contains(reason)).then_some(()))
            })
            .with_context(|| format!("{answer:?}"))?;
            let state = status(&scene.client)?;
            ensure!(
                state.get("state").is_some_and(|state| state != "up"),
                "{state:?}"
            );
            rmmod(&scene.client, "remoteswap")?;
            peer.signal(nix::libc::SIGTERM);
        }
        Ok(())
    })
}

/// Leases, fencing, zeroing and rejections, by the server's own client.
#[test]
fn the_server_keeps_its_promises() -> Result<()> {
    on_cluster(|scene| {
        swap_area::clear(&scene.client)?;
        let server = MemoryServer::start(scene, 8)?;
        let program = scene.client.install(&example("exercise"))?;
        let peer = scene.listen.to_string();
        let output = scene.client.run(&[&program, "--connect", &peer])?;
        eprint!("{}", String::from_utf8_lossy(&output.stdout));
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {stderr}", output.status);
        server.stop()
    })
}

#[test]
fn the_server_refuses_bad_arguments_with_one_line() -> Result<()> {
    on_cluster(|scene| {
        let listen = format!("{}:9402", scene.listen.ip());
        let cases: [&[&str]; 5] = [
            &["--listen", &listen, "--size", "many"],
            &["--listen", &listen, "--size", "0"],
            &["--listen", "nowhere", "--size", "1M"],
            // An address for documentation, which is nobody's.
            &["--listen", "192.0.2.77:9402", "--size", "1M"],
            &["--listen", &listen, "--size", "1M", "--chunk", "3M"],
        ];
        for case in cases {
            let output = scene.server.run(&[&[MEMORY_SERVER][..], case].concat())?;
            let text = String::from_utf8_lossy(&output.stderr);
            ensure!(!output.status.success(), "{case:?} was accepted");
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            let told = lines.filter(|line| !line.starts_with("For more information"));
            ensure!(told.count() == 1, "{case:?}: {text}");
        }
        Ok(())
    })
}

/// What it has to say is lost, and nothing else.
#[test]
fn a_server_that_cannot_write_its_log_goes_on() -> Result<()> {
    on_cluster(|scene| {
        swap_area::clear(&scene.client)?;
        let server = MemoryServer::start_by(scene, 16, "exec \"$@\" 2>/dev/full")?;
        connect(scene)?;
        rmmod(&scene.client, "remoteswap")?;
        ensure!(server.control(&["stats"])?.contains("\"accepted\":2"));
        server.stop()
    })
}

/// Those who ask and are gone before the answer, while the server is held up:
/// it lends them nothing, and lets in who asked behind them.
#[test]
fn clients_that_take_no_answer_cost_the_server_nothing() -> Result<()> {
    const CROWD: usize = 40;
    on_cluster(|scene| {
        swap_area::clear(&scene.client)?;
        let server = MemoryServer::start(scene, 8)?;
        let peer = scene.listen.to_string();
        let crowd = scene.client.install(&example("crowd"))?;
        server.signal(nix::libc::SIGSTOP);
        let count = CROWD.to_string();
        let mut crowd = scene
            .client
            .start(&[&crowd[..], "--connect", &peer, "--count", &count])?;
        crowd.line()?;
        asked(&scene.server, CROWD)?;
        crowd.signal(nix::libc::SIGKILL);
        crowd.finish(scaled(Duration::from_secs(10))?)?;
        // Its request is behind the farewells of all the others.
        let probe = [
            MEMORY_SERVER,
            "probe",
            "--connect",
            &peer,
            "--deadline",
            "60",
        ];
        let last = scene.client.start(&probe)?;
        asked(&scene.server, CROWD + 1)?;
        server.signal(nix::libc::SIGCONT);
        let last = last.finish(scaled(Duration::from_secs(60))?)?;
        ensure!(last.status.success(), "who came last: {last:?}");
        let (free, limit) = (8 << 20, scaled(Duration::from_secs(10))?);
        let stats = wait_until("all the server's memory", limit, || {
            let stats = server.control(&["stats"])?;
            let all = stats.contains(&format!("\"free_bytes\":{free},"));
            Ok(all.then_some(stats))
        })?;
        ensure!(
            stats.contains(&format!("\"accepted\":1,\"rejected\":{CROWD},")),
            "{stats}"
        );
        server.stop()
    })
}
