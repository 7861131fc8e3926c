//! Commands and readers slower than the stream.

use std::io::{ErrorKind, Write};
use std::thread;
use std::time::Duration;

use rapidswap_protocol::{Exec, ExitStatus};

use crate::support::{Host, SIGKILL, shell};

#[test]
fn input_that_nobody_reads_is_a_broken_pipe() {
    let host = Host::start();
    let agent = host.attach();
    let mut process = agent
        .exec(shell("exec <&-; echo closed; read x <&1; :"))
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let zeroes = vec![0; 1 << 20];
    let error = stdin.write_all(&zeroes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[test]
fn a_slow_reader_stops_its_own_command_and_no_other() {
    const SIZE: usize = 5_000_000;
    let host = Host::start();
    let agent = host.attach();
    let big = format!("head -c {SIZE} /dev/zero; head -c {SIZE} /dev/zero >&2");
    let slow = agent.exec(shell(&big)).unwrap();
    for _ in 0..10 {
        let output = agent.exec(shell(&big)).unwrap().output().unwrap();
        assert_eq!((output.stdout.len(), output.stderr.len()), (SIZE, SIZE));
    }
    let mut slow = slow;
    let ended = slow.wait_timeout(Duration::from_millis(1)).unwrap();
    assert_eq!(ended, None, "it fills its pipe and stops");
    let output = slow.output().unwrap();
    assert_eq!((output.stdout.len(), output.stderr.len()), (SIZE, SIZE));
}

#[test]
fn a_command_that_does_not_read_stops_its_own_input_and_no_other() {
    let host = Host::start();
    let agent = host.attach();
    let mut deaf = agent.exec(Exec::new(["sleep", "600"])).unwrap();
    let mut stdin = deaf.stdin.take().unwrap();
    let writer = thread::spawn(move || stdin.write_all(&vec![0; 1 << 20]).unwrap_err());
    let mut wc = agent.exec(Exec::new(["wc", "-c"])).unwrap();
    wc.stdin
        .take()
        .unwrap()
        .write_all(&vec![0; 3_000_000])
        .unwrap();
    let output = wc.output().unwrap();
    assert_eq!(output.stdout, b"3000000\n");
    deaf.signal(SIGKILL);
    assert_eq!(deaf.wait().unwrap(), ExitStatus::Signal(SIGKILL));
    assert_eq!(writer.join().unwrap().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn many_commands_run_at_once() {
    let host = Host::start();
    let agent = host.attach();
    let threads: Vec<_> = (0..16)
        .map(|number| {
            let agent = agent.clone();
            thread::spawn(move || {
                let script = format!("seq -f {number}-%g 20000; seq 5000 >&2; exit {number}");
                let output = agent.exec(shell(&script)).unwrap().output().unwrap();
                let expected: String = (1..=20000).map(|n| format!("{number}-{n}\n")).collect();
                assert!(output.stdout == expected.as_bytes());
                let expected: String = (1..=5000).map(|n| format!("{n}\n")).collect();
                assert!(output.stderr == expected.as_bytes());
                assert_eq!(output.status, ExitStatus::Code(number));
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}
