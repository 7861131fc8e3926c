//! Commands on a terminal.

use std::io::Write;

use rapidswap_protocol::{ExitStatus, WindowSize};

use crate::support::{Host, line, shell};

#[test]
fn a_terminal_has_the_size_it_is_told() {
    let host = Host::start();
    let agent = host.attach();
    let script = "tty -s && stty size; read x; stty size; echo $x >&2; exit 7";
    let size = |rows, cols| WindowSize { rows, cols };
    let exec = shell(script).env("TERM", "dumb").tty(size(33, 101));
    let mut process = agent.exec(exec).unwrap();
    assert_eq!(line(&mut process.stdout), "33 101\r");
    process.resize(size(44, 202));
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(b"word\n").unwrap();
    let output = process.output().unwrap();
    assert_eq!(output.stdout, b"word\r\n44 202\r\nword\r\n");
    assert_eq!(output.stderr, b"");
    assert_eq!(output.status, ExitStatus::Code(7));
    drop(stdin);
}

#[test]
fn a_terminal_loses_nothing_at_the_end() {
    let host = Host::start();
    let agent = host.attach();
    let size = WindowSize { rows: 24, cols: 80 };
    for _ in 0..10 {
        let exec = shell("sleep 600 & seq 3000").tty(size);
        let output = agent.exec(exec).unwrap().output().unwrap();
        let expected: String = (1..=3000).map(|n| format!("{n}\r\n")).collect();
        assert!(output.stdout == expected.as_bytes());
    }
}

#[test]
fn a_terminal_passes_keys_and_end_of_file() {
    let host = Host::start();
    let agent = host.attach();
    let size = WindowSize { rows: 24, cols: 80 };
    let script = "trap 'echo interrupted; cat; echo end; exit' INT; sleep 600 & echo up; wait";
    let mut process = agent.exec(shell(script).tty(size)).unwrap();
    assert_eq!(line(&mut process.stdout), "up\r");
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(&[3]).unwrap();
    assert_eq!(line(&mut process.stdout), "^Cinterrupted\r");
    drop(stdin);
    let output = process.output().unwrap();
    assert!(output.stdout.ends_with(b"end\r\n"));
}
