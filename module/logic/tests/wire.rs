//! Messages survive the way over the wire, and no byte string upsets a decoder.

use proptest::prelude::*;
use remoteswap_logic::wire::*;

prop_compose! {
    fn req()(store: bool, client_id: u64, session in 1u64.., wanted_bytes: u64) -> Req {
        let role = if store { Role::Store } else { Role::Load };
        Req { role, client_id, session, wanted_bytes }
    }
}

prop_compose! {
    fn rep()(flags: u16, epoch: u64, lease: u64, capacity_bytes: u64, chunk_bytes: u64,
             chunk_count: u32, table_rkey: u32, table_addr: u64) -> Rep {
        Rep { flags, epoch, lease, capacity_bytes, chunk_bytes, chunk_count, table_rkey, table_addr }
    }
}

proptest! {
    #[test]
    fn req_round_trips_padded(req in req(), padding in 0usize..64) {
        let mut bytes = req.encode().to_vec();
        bytes.resize(REQ_LEN + padding, 0);
        prop_assert_eq!(Req::decode(&bytes), Ok(req));
    }

    #[test]
    fn rep_round_trips_padded(rep in rep(), padding in 0usize..256) {
        let mut bytes = rep.encode().to_vec();
        bytes.resize(REP_LEN + padding, 0);
        prop_assert_eq!(Rep::decode(&bytes), Ok(rep));
    }

    #[test]
    fn rej_round_trips(version: u16, reason: u16) {
        let rej = Rej { version, reason: Reason::from_wire(reason) };
        prop_assert_eq!(rej.reason.to_wire(), reason);
        prop_assert_eq!(Rej::decode(&rej.encode()), Ok(rej));
    }

    #[test]
    fn table_round_trips(epoch: u64, lease: u64, session: u64, released: u64, addr: u64, rkey: u32) {
        let header = TableHeader { epoch, lease, session, released };
        prop_assert_eq!(TableHeader::decode(&header.encode()), Ok(header));
        let at = TABLE_RELEASED_OFFSET as usize;
        prop_assert_eq!(&header.encode()[at..at + 8], &released.to_le_bytes()[..]);
        let chunk = Chunk { addr, rkey };
        prop_assert_eq!(Chunk::decode(&chunk.encode()), Ok(chunk));
    }

    #[test]
    fn decoders_are_total(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = Req::decode(&bytes);
        let _ = Rep::decode(&bytes);
        let _ = Rej::decode(&bytes);
        let _ = TableHeader::decode(&bytes);
        let _ = Chunk::decode(&bytes);
    }

    #[test]
    fn a_cut_message_is_short(req in req(), rep in rep(), cut in 8usize..REQ_LEN) {
        prop_assert_eq!(Req::decode(&req.encode()[..cut]), Err(WireError::Short));
        prop_assert_eq!(Rep::decode(&rep.encode()[..cut]), Err(WireError::Short));
    }
}

const REQ: Req = Req {
    role: Role::Store,
    client_id: 0x1122_3344_5566_7788,
    session: 2,
    wanted_bytes: 1 << 30,
};

#[test]
fn req_golden() {
    let mut expect = [0u8; 40];
    expect[..8].copy_from_slice(b"RSWP\x01\x00\x01\x00");
    expect[8..16].copy_from_slice(&[0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]);
    expect[16] = 2;
    expect[27] = 0x40;
    assert_eq!(REQ.encode(), expect);
}

#[test]
fn wrong_magic_and_version_are_named_even_in_short_messages() {
    let mut bytes = REQ.encode();
    bytes[4] = 9;
    assert_eq!(Req::decode(&bytes[..8]), Err(WireError::Version(9)));
    assert_eq!(Reason::from(WireError::Version(9)), Reason::BadVersion);
    bytes[0] = 0;
    let error = Req::decode(&bytes[..8]).unwrap_err();
    assert!(matches!(error, WireError::Magic(_)));
    assert_eq!(Reason::from(error), Reason::BadMagic);
}

#[test]
fn meaningless_fields_are_malformed() {
    for (at, value) in [(6, 2), (7, 1), (16, 0)] {
        let mut bytes = REQ.encode();
        bytes[at] = value;
        assert_eq!(Req::decode(&bytes), Err(WireError::Malformed), "byte {at}");
    }
}
