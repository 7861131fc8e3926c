//! Peers that are no agent of this version. (The real agent is tested with
//! the crate that builds it.)
#![allow(missing_docs)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use rapidswap_protocol::frame::{Decoder, Frame, FrameWriter, Kind};
use rapidswap_protocol::message::{Hello, VERSION};
use rapidswap_protocol::{Agent, Error};

fn attach(stream: &UnixStream, limit: Duration) -> Result<Agent, Error> {
    let (reader, writer) = (stream.try_clone(), stream.try_clone());
    Agent::attach(reader.unwrap(), writer.unwrap(), limit)
}

#[test]
fn another_version_is_named() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let peer = thread::spawn(move || {
        let mut decoder = Decoder::new();
        let nonce = loop {
            let count = theirs.read(decoder.space()).unwrap();
            decoder.filled(count);
            if let Some(frame) = decoder.next_frame() {
                break frame.nonce;
            }
        };
        let hello = Hello {
            version: VERSION + 1,
            pid: 1,
            notes: String::new(),
        };
        let frame = |nonce, payload| Frame {
            kind: Kind::Hello,
            more: false,
            nonce,
            stream: 0,
            payload,
        };
        let mut writer = FrameWriter::new(&theirs);
        writer
            .send(frame(nonce ^ 1, b"of another session"))
            .unwrap();
        writer.send(frame(nonce, &hello.encode())).unwrap();
    });
    let error = attach(&ours, Duration::from_secs(60)).unwrap_err();
    peer.join().unwrap();
    let expected = format!(
        "the agent speaks protocol version {}, this program {VERSION}; rebuild both",
        VERSION + 1
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_stream_that_ends_or_says_other_things_is_no_agent() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    let attached = attach(&ours, Duration::from_secs(60));
    assert!(matches!(attached, Err(Error::Gone)));

    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"login: ").unwrap();
    let attached = attach(&ours, Duration::from_millis(10));
    assert!(matches!(attached, Err(Error::NoHello(_))));
}
