//! Commands as somebody at a terminal has them, or a script: keys, sizes,
//! signals, input.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rapidswap_tests::rapidswap;
use rapidswap_tests::scene::on_cluster;
use rapidswap_tests::terminal::Terminal;

#[test]
fn a_command_on_a_terminal_has_its_size_and_its_keys() -> Result<()> {
    on_cluster(|scene| {
        let exec = ["--name", scene.cluster.name(), "exec", "-t", "client", "--"];
        let script = "trap 'stty size' WINCH; stty size; while :; do sleep 0.1; done";
        let command = [&exec[..], &["sh", "-c", script]].concat();
        let mut terminal = Terminal::start(&command, (33, 101))?;
        terminal.shows("33 101")?;
        ensure!(!terminal.is_cooked()?, "keys are taken on the way");
        terminal.resize(44, 202)?;
        terminal.shows("44 202")?;
        terminal.type_in(b"\x03")?;
        ensure!(terminal.end()? == Some(128 + Signal::SIGINT as i32));
        ensure!(terminal.is_cooked()?, "the terminal is left as it was used");
        Ok(())
    })
}

#[test]
fn a_shell_is_one_on_a_terminal() -> Result<()> {
    on_cluster(|scene| {
        let shell = ["--name", scene.cluster.name(), "shell", "server"];
        let mut terminal = Terminal::start(&shell, (24, 80))?;
        // What is typed is seen as well: what is looked for is not typed.
        terminal.type_in(b"tty -s && echo it is $((6 * 7)) on $(hostname)\n")?;
        terminal.shows("it is 42 on server")?;
        terminal.type_in(b"exit 7\n")?;
        ensure!(terminal.end()? == Some(7));
        ensure!(terminal.is_cooked()?, "the terminal is left as it was used");
        Ok(())
    })
}

#[test]
fn signals_reach_the_command() -> Result<()> {
    on_cluster(|scene| {
        let exec = ["--name", scene.cluster.name(), "exec", "client", "--"];
        let script = "trap 'echo INT; exit 3' INT; trap 'echo TERM; exit 4' TERM
            echo on; while :; do sleep 0.1; done";
        for (signal, says, code) in [(Signal::SIGINT, "INT\n", 3), (Signal::SIGTERM, "TERM\n", 4)] {
            let mut program = rapidswap::command(&exec)
                .args(["sh", "-c", script])
                .stdout(Stdio::piped())
                .spawn()?;
            let mut output = BufReader::new(program.stdout.take().context("piped")?);
            let mut line = String::new();
            output.read_line(&mut line)?;
            ensure!(line == "on\n", "{line}");
            kill(Pid::from_raw(program.id().try_into()?), signal)?;
            let (mut rest, ended) = (String::new(), program.wait()?);
            output.read_to_string(&mut rest)?;
            ensure!(ended.code() == Some(code), "{signal}: {ended}, {rest}");
            ensure!(rest == says, "{signal}: {rest}");
        }
        Ok(())
    })
}

#[test]
fn what_is_piped_in_comes_out_whole_and_ends() -> Result<()> {
    on_cluster(|scene| {
        let exec = ["--name", scene.cluster.name(), "exec", "client", "--"];
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| ((n * 7) >> 3) as u8).collect();
        let mut program = rapidswap::command(&exec)
            .args(["sh", "-c", "cat; cat >&2; exit 9"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (mut stdin, input) = (program.stdin.take().context("piped")?, bytes.clone());
        let feeds = thread::spawn(move || stdin.write_all(&input));
        let output = program.wait_with_output()?;
        feeds.join().ok().context("a thread")??;
        ensure!(output.status.code() == Some(9), "{:?}", output.status);
        ensure!(output.stdout == bytes, "{} bytes", output.stdout.len());
        ensure!(output.stderr.is_empty(), "{:?}", output.stderr);
        Ok(())
    })
}
