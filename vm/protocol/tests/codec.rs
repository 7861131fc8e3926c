//! Frames and messages, whatever surrounds them.
#![allow(missing_docs)]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use rapidswap_protocol::frame::{Decoder, Frame, Kind, MAX_PAYLOAD, PREAMBLE};
use rapidswap_protocol::message::{self, Failure, Hello, Lane, Settle};
use rapidswap_protocol::{Exec, ExitStatus, WindowSize};

#[derive(Clone, Debug, PartialEq)]
struct Owned {
    kind: Kind,
    more: bool,
    nonce: u64,
    stream: u32,
    payload: Vec<u8>,
}

impl Owned {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        Frame {
            kind: self.kind,
            more: self.more,
            nonce: self.nonce,
            stream: self.stream,
            payload: &self.payload,
        }
        .encode(&mut bytes);
        bytes
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    use Kind::*;
    select(vec![
        Hello, Exec, Started, Stdin, Stdout, Stderr, Eof, Exit, Signal, Winsize, Credit, Push,
        Pull, Error, Close, Shutdown, Settle,
    ])
}

fn frame() -> impl Strategy<Value = Owned> {
    let payload = prop_oneof![
        vec(any::<u8>(), 0..64),
        vec(any::<u8>(), MAX_PAYLOAD - 2..=MAX_PAYLOAD),
    ];
    let header = (kind(), any::<bool>(), any::<u64>(), any::<u32>());
    (header, payload).prop_map(|((kind, more, nonce, stream), payload)| Owned {
        kind,
        more,
        nonce,
        stream,
        payload,
    })
}

/// Bytes that are no frame, some of which begin like one.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let beginning = (frame(), any::<Index>()).prop_map(|(frame, cut)| {
        let bytes = frame.bytes();
        bytes[..cut.index(bytes.len().min(27))].to_vec()
    });
    let piece = prop_oneof![vec(any::<u8>(), 0..50), beginning];
    vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

/// What a decoder finds in a stream that arrives in the given pieces.
fn decode(stream: &[u8], mut pieces: impl FnMut() -> usize) -> Vec<Owned> {
    let mut decoder = Decoder::new();
    let mut found = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let space = decoder.space();
        assert!(!space.is_empty());
        let count = pieces().clamp(1, rest.len()).min(space.len());
        space[..count].copy_from_slice(&rest[..count]);
        decoder.filled(count);
        rest = &rest[count..];
        while let Some(frame) = decoder.next_frame() {
            found.push(Owned {
                kind: frame.kind,
                more: frame.more,
                nonce: frame.nonce,
                stream: frame.stream,
                payload: frame.payload.to_vec(),
            });
        }
    }
    found
}

proptest! {
    #[test]
    fn frames_are_found_between_garbage_however_they_are_split(
        parts in vec((garbage(), frame()), 1..8),
        sizes in vec(1..3000_usize, 1..20),
    ) {
        let mut stream = Vec::new();
        for (garbage, frame) in &parts {
            stream.extend(garbage);
            stream.extend(frame.bytes());
        }
        let mut sizes = sizes.into_iter().cycle();
        let found = decode(&stream, || sizes.next().unwrap());
        let sent: Vec<_> = parts.into_iter().map(|(_, frame)| frame).collect();
        prop_assert!(found == sent);
    }

    #[test]
    fn a_session_begins_wherever_the_former_one_stopped(
        former in frame(),
        cut in any::<Index>(),
        hello in frame(),
    ) {
        let whole = former.bytes();
        let mut stream = whole[..cut.index(whole.len())].to_vec();
        stream.extend(PREAMBLE);
        stream.extend(hello.bytes());
        let found = decode(&stream, || usize::MAX);
        let (last, before) = found.split_last().unwrap();
        prop_assert!(*last == hello);
        // What is missing may have been zeroes.
        prop_assert!(before.iter().all(|frame| *frame == former));
    }

    #[test]
    fn a_frame_with_a_wrong_bit_is_none(frame in frame(), at in any::<Index>(), bit in 0..8) {
        let mut bytes = frame.bytes();
        let index = at.index(bytes.len());
        bytes[index] ^= 1_u8 << bit;
        bytes.extend(PREAMBLE);
        prop_assert!(decode(&bytes, || usize::MAX).is_empty());
    }

    #[test]
    fn commands_survive_the_way(exec in exec()) {
        let bytes = message::encode_exec(&exec);
        prop_assert_eq!(message::decode_exec(&bytes), Some(exec));
    }

    #[test]
    fn small_messages_survive_the_way(
        number in any::<i32>(),
        size in size(),
        bytes in any::<u32>(),
        lane in select(vec![Lane::Stdin, Lane::Stdout, Lane::Stderr]),
        text in ".{0,100}",
    ) {
        for status in [ExitStatus::Code(number), ExitStatus::Signal(number)] {
            let encoded = message::encode_exit(status);
            prop_assert_eq!(message::decode_exit(&encoded), Some(status));
        }
        let encoded = message::encode_size(size);
        prop_assert_eq!(message::decode_size(&encoded), Some(size));
        let encoded = message::encode_credit(lane, bytes);
        prop_assert_eq!(message::decode_credit(&encoded), Some((lane, bytes)));
        prop_assert_eq!(message::decode_lane(&message::encode_lane(lane)), Some(lane));
        let encoded = message::encode_number(number);
        prop_assert_eq!(message::decode_number(&encoded), Some(number));
        let encoded = message::encode_push(bytes, text.as_ref());
        prop_assert_eq!(message::decode_push(&encoded), Some((bytes, text.clone().into())));
        let failure = Failure { errno: number, message: text.clone() };
        prop_assert_eq!(Failure::decode(&failure.encode()), Some(failure));
        let hello = Hello { version: 3, pid: bytes, notes: text };
        prop_assert_eq!(Hello::decode(&hello.encode()), Some(hello));
    }

    #[test]
    fn a_settlement_survives_the_way(
        seconds in any::<u64>(),
        nanoseconds in 0..1_000_000_000_u32,
        seed in vec(any::<u8>(), 0..100),
    ) {
        let settle = Settle { time: Duration::new(seconds, nanoseconds), seed };
        prop_assert_eq!(Settle::decode(&settle.encode()), Some(settle));
    }

    #[test]
    fn any_bytes_can_be_decoded(bytes in vec(any::<u8>(), 0..200)) {
        decode(&bytes, || usize::MAX);
        message::decode_exec(&bytes);
        message::decode_exit(&bytes);
        message::decode_size(&bytes);
        message::decode_credit(&bytes);
        message::decode_lane(&bytes);
        message::decode_number(&bytes);
        message::decode_push(&bytes);
        Failure::decode(&bytes);
        Settle::decode(&bytes);
        Hello::decode(&bytes);
    }
}

fn text() -> impl Strategy<Value = OsString> {
    vec(any::<u8>(), 0..20).prop_map(OsString::from_vec)
}

fn size() -> impl Strategy<Value = WindowSize> {
    any::<(u16, u16)>().prop_map(|(rows, cols)| WindowSize { rows, cols })
}

fn exec() -> impl Strategy<Value = Exec> {
    let lists = (vec(text(), 0..6), vec((text(), text()), 0..4));
    let options = (option::of(text()), option::of(size()), option::of(text()));
    (lists, options, any::<bool>()).prop_map(|((argv, env), (cwd, tty, log), detach)| Exec {
        argv,
        env,
        cwd: cwd.map(Into::into),
        tty,
        detach,
        log,
    })
}

#[test]
fn a_frame_has_the_bytes_of_the_format() {
    let frame = Owned {
        kind: Kind::Stdin,
        more: true,
        nonce: 0x0102_0304_0506_0708,
        stream: 0x0a0b_0c0d,
        payload: b"123456789".to_vec(),
    };
    let expected = [
        b"\xf5RS1\x04\x01\x09\x00\x0d\x0c\x0b\x0a".as_slice(),
        b"\x08\x07\x06\x05\x04\x03\x02\x01",
        b"\x26\x39\xf4\xcb",
    ]
    .concat();
    let bytes = frame.bytes();
    assert_eq!(bytes[..24], expected);
    assert_eq!(&bytes[28..], b"123456789");
}
