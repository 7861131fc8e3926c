//! A node's kernel from outside: gdb, and the serial console.

use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use rapidswap_tests::rapidswap;
use rapidswap_tests::scene::on_cluster;
use rapidswap_tests::terminal::Terminal;
use rapidswap_vm::NodeState;

#[test]
fn gdb_sees_functions_of_the_kernel_and_lets_it_go_on() -> Result<()> {
    on_cluster(|scene| {
        let name = scene.cluster.name();
        scene
            .client
            .ok(&["insmod", "/rapidswap/modules/lkdtm.ko"])?;
        let gdb = ["--name", name, "gdb", "client", "--", "-batch", "-ex", "bt"];
        let more = [
            "-ex",
            "info symbol vfs_read",
            "-ex",
            "info symbol direct_entry",
        ];
        let output = rapidswap::run(&[&gdb[..], &more].concat())?;
        scene.client.ok(&["rmmod", "lkdtm"])?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{output:?}");
        ensure!(said.contains("#0 ") && said.contains(" in "), "{output:?}");
        ensure!(said.contains("vfs_read in section .text"), "{said}");
        ensure!(
            said.contains("lkdtm.ko"),
            "the module is not known: {output:?}"
        );
        // It goes on, and can be looked at again.
        let nodes = scene.cluster.status()?.nodes;
        ensure!(
            nodes.iter().all(|node| node.state == NodeState::Up),
            "{nodes:?}"
        );
        scene.client.ok(&["true"])?;
        let stub = scene.cluster.run_dir().join("client.gdb");
        ensure!(!stub.exists(), "the stub is left");
        let again = rapidswap::run(&gdb)?;
        ensure!(again.status.success(), "{again:?}");
        scene.client.ok(&["true"]).map(drop)
    })
}

#[test]
fn a_console_goes_both_ways_and_is_kept() -> Result<()> {
    on_cluster(|scene| {
        let name = scene.cluster.name();
        let mut console = rapidswap::command(&["--name", name, "console", "server"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut keys = console.stdin.take().context("piped")?;
        // What is typed comes back as well: what is looked for is not typed.
        writeln!(
            keys,
            "echo it is $((6 * 7)) on $(hostname); echo '<0>from within' >/dev/kmsg"
        )?;
        writeln!(keys, "exit")?;
        let output = console.wait_with_output()?;
        drop(keys);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{output:?}");
        ensure!(said.contains("it is 42 on server"), "{said}");
        ensure!(
            said.contains("from within"),
            "the kernel is not heard: {said}"
        );
        let log = scene.server.node.console()?;
        ensure!(log.contains("it is 42 on server"), "{log}");
        // It is free again.
        drop(scene.server.node.console_stream()?);
        Ok(())
    })
}

#[test]
fn a_console_is_left_by_its_escape_and_keeps_its_shell() -> Result<()> {
    on_cluster(|scene| {
        let console = ["--name", scene.cluster.name(), "console", "server"];
        // What is typed is seen as well: what is looked for is not typed.
        for (line, says) in [
            ("kept=$((6 * 7)); echo here is $kept", "here is 42"),
            ("echo there is $kept; exit", "there is 42"),
        ] {
            let mut terminal = Terminal::start(&console, (24, 80))?;
            terminal.shows("leave with Ctrl-] q")?;
            terminal.type_in(format!("{line}\n").as_bytes())?;
            terminal.shows(says)?;
            ensure!(!terminal.is_cooked()?, "keys are taken on the way");
            terminal.type_in(b"\x1dq")?;
            ensure!(terminal.end()? == Some(0), "{line}");
            ensure!(terminal.is_cooked()?, "the terminal is left as it was used");
        }
        // Who comes next starts a shell again.
        let free = ["flock", "--timeout", "20", "/run/console.lock", "true"];
        scene.server.ok(&free).map(drop)
    })
}
