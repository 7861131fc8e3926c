//! Sessions on a stream in any state.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use rapidswap_protocol::frame::{Decoder, Frame, Kind, PREAMBLE};
use rapidswap_protocol::message::{self, Settle, VERSION};
use rapidswap_protocol::{Error, Exec};

use crate::support::{Host, assert_died, pattern, shell, start_witnessed};

/// The frames a host sends, by hand.
fn frame(kind: Kind, nonce: u64, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let more = false;
    Frame {
        kind,
        more,
        nonce,
        stream,
        payload,
    }
    .encode(&mut bytes);
    bytes
}

#[test]
fn a_session_begins_after_a_host_that_vanished_in_the_middle_of_a_frame() {
    let host = Host::start();
    let mut stream = host.stream.try_clone().unwrap();
    let fifo = host.path("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());

    stream.write_all(&PREAMBLE).unwrap();
    let version = VERSION.to_le_bytes();
    stream
        .write_all(&frame(Kind::Hello, 7, 0, &version))
        .unwrap();
    let sleeper = shell(r#"exec 3>"$FIFO"; sleep 600"#).env("FIFO", &fifo);
    let request = message::encode_exec(&sleeper);
    stream
        .write_all(&frame(Kind::Exec, 7, 1, &request))
        .unwrap();
    let push = message::encode_push(0o644, &host.path("half"));
    stream.write_all(&frame(Kind::Push, 7, 2, &push)).unwrap();
    let mut decoder = Decoder::new();
    let mut started = Vec::new();
    while started.len() < 2 {
        let count = stream.read(decoder.space()).unwrap();
        decoder.filled(count);
        while let Some(frame) = decoder.next_frame() {
            if frame.kind == Kind::Started {
                started.push(frame.stream);
            }
        }
    }
    let witness = fs::File::open(&fifo).unwrap();
    let data = frame(Kind::Stdin, 7, 2, &[1; 5000]);
    stream.write_all(&data[..3000]).unwrap();

    let agent = host.attach();
    assert_died(witness);
    let output = agent.exec(shell("echo new")).unwrap().output().unwrap();
    assert_eq!(output.stdout, b"new\n");
    let left: Vec<_> = fs::read_dir(host.dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "only the FIFO is left of it: {left:?}");
}

#[test]
fn a_session_begins_after_garbage() {
    let host = Host::start();
    let mut stream = host.stream.try_clone().unwrap();
    stream.write_all(&pattern(100_000)).unwrap();
    let mut wrong = frame(Kind::Shutdown, 1, 0, &[]);
    stream.write_all(&wrong).unwrap();
    wrong[5] ^= 1;
    stream.write_all(&wrong).unwrap();
    let agent = host.attach();
    assert!(
        agent
            .exec(Exec::new(["true"]))
            .unwrap()
            .wait()
            .unwrap()
            .success()
    );
}

#[test]
fn a_new_session_ends_the_commands_of_the_former_one() {
    let host = Host::start();
    // The first hello must not reach the second one's reader, so there is one.
    let first = host.attach();
    let script = r#"exec 3>"$FIFO"; sleep 600"#;
    let (_process, witness) = start_witnessed(&first, &host.path("fifo"), shell(script));
    let mut stream = host.stream.try_clone().unwrap();
    stream.write_all(&PREAMBLE).unwrap();
    let version = VERSION.to_le_bytes();
    stream
        .write_all(&frame(Kind::Hello, 7, 0, &version))
        .unwrap();
    assert_died(witness);
}

#[test]
fn the_end_of_the_stream_ends_the_agent_and_its_commands() {
    let mut host = Host::start();
    let agent = host.attach();
    assert_ne!(agent.hello().pid, 0);
    assert_eq!(agent.hello().notes, "");
    let script = r#"exec 3>"$FIFO"; sleep 600"#;
    let (_process, witness) = start_witnessed(&agent, &host.path("fifo"), shell(script));
    host.stream.shutdown(Shutdown::Both).unwrap();
    assert!(host.wait_for_agent().success());
    assert_died(witness);
}

#[test]
fn a_dead_agent_ends_every_wait() {
    let mut host = Host::start();
    let agent = host.attach();
    let mut process = agent.exec(Exec::new(["cat"])).unwrap();
    let mut stdout = process.stdout.clone();
    let reader = thread::spawn(move || stdout.read(&mut [0]).unwrap_err());
    host.kill_agent();
    assert!(matches!(process.wait(), Err(Error::Gone)));
    assert_eq!(reader.join().unwrap().kind(), ErrorKind::ConnectionAborted);
    assert!(matches!(agent.exec(Exec::new(["true"])), Err(Error::Gone)));
    assert!(agent.is_gone());
}

#[test]
fn a_host_that_is_no_vm_keeps_its_clock() {
    let host = Host::start();
    let agent = host.attach();
    let settle = Settle {
        time: Duration::ZERO,
        seed: vec![1; 64],
    };
    let error = agent.settle(&settle).unwrap_err();
    assert!(
        error.to_string().contains("only the agent of a VM"),
        "{error}"
    );
    // It goes on as if nothing had been asked.
    assert!(
        agent
            .exec(Exec::new(["true"]))
            .unwrap()
            .wait()
            .unwrap()
            .success()
    );
}
