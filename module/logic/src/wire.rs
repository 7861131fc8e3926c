// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0

//! Wire protocol, version 1: the private data of the `rdma_cm` handshake and
//! the chunk table that the client READs afterwards.
//!
//! Everything is little endian and of fixed size. Decoding accepts a longer
//! slice than the message, because connection managers pad private data with
//! zeroes up to the transport's maximum.

use core::fmt;

/// First word of every message: "RSWP" in memory order.
pub const MAGIC: u32 = 0x5057_5352;
/// Version of the protocol this code speaks.
pub const VERSION: u16 = 1;
/// Length of an encoded [`Req`].
pub const REQ_LEN: usize = 40;
/// Length of an encoded [`Rep`].
pub const REP_LEN: usize = 64;
/// Length of an encoded [`Rej`].
pub const REJ_LEN: usize = 8;
/// Length of an encoded [`TableHeader`].
pub const TABLE_HEADER_LEN: usize = 64;
/// Length of one encoded [`Chunk`].
pub const CHUNK_LEN: usize = 16;
/// Where in the chunk table the client WRITEs [`RELEASED`] as it detaches.
pub const TABLE_RELEASED_OFFSET: u64 = 32;
/// What the client WRITEs there (a little-endian u64).
pub const RELEASED: u64 = 1;
/// [`Rep::flags`]: the client's memory survived from an earlier session.
pub const REP_LEASE_KEPT: u16 = 1 << 0;
/// READs a queue pair may have outstanding in either direction.
pub const MAX_READS: u8 = 16;
/// `retry_count` of every connection.
pub const RETRY_COUNT: u8 = 7;
/// `rnr_retry_count` of every connection.
pub const RNR_RETRY_COUNT: u8 = 7;
/// TCP-like port a server listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 9400;

/// Why bytes are not the message they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// Fewer bytes than the message has.
    Short,
    /// The first word is this and not [`MAGIC`].
    Magic(u32),
    /// The peer speaks this version and not [`VERSION`].
    Version(u16),
    /// A field holds a value that has no meaning.
    Malformed,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            WireError::Short => f.write_str("message cut short"),
            WireError::Magic(got) => {
                write!(
                    f,
                    "magic is {got:#010x}, not {MAGIC:#010x}: not a remoteswap peer"
                )
            }
            WireError::Version(got) => {
                write!(f, "peer speaks version {got}, this side version {VERSION}")
            }
            WireError::Malformed => f.write_str("field with a meaningless value"),
        }
    }
}

impl core::error::Error for WireError {}

/// What a queue pair of a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Pages come back over this one. It connects first and creates the session.
    Load,
    /// Pages go out over this one. It joins a session that exists.
    Store,
}

impl Role {
    /// The role's byte on the wire.
    pub fn to_wire(self) -> u8 {
        match self {
            Role::Load => 0,
            Role::Store => 1,
        }
    }

    /// The role a byte stands for.
    pub fn from_wire(byte: u8) -> Option<Role> {
        match byte {
            0 => Some(Role::Load),
            1 => Some(Role::Store),
            _ => None,
        }
    }
}

/// Client to server, private data of the connection request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Req {
    /// What the queue pair is for.
    pub role: Role,
    /// Random for each load of the module.
    pub client_id: u64,
    /// Counts up from 1; a higher one fences all lower ones of the same client.
    pub session: u64,
    /// Memory asked for; 0 asks for all the server has.
    pub wanted_bytes: u64,
}

impl Req {
    /// The message as it goes out.
    pub fn encode(&self) -> [u8; REQ_LEN] {
        let mut out = [0; REQ_LEN];
        put_head(&mut out, self.role.to_wire().into());
        put_u64(&mut out, 8, self.client_id);
        put_u64(&mut out, 16, self.session);
        put_u64(&mut out, 24, self.wanted_bytes);
        out
    }

    /// The message that came in. Magic and version are judged before anything
    /// else, so that another version's request is called what it is.
    pub fn decode(bytes: &[u8]) -> Result<Req, WireError> {
        check_head(bytes)?;
        let m: &[u8; REQ_LEN] = prefix(bytes)?;
        let session = get_u64(m, 16);
        match (Role::from_wire(m[6]), m[7], session) {
            (Some(role), 0, 1..) => Ok(Req {
                role,
                client_id: get_u64(m, 8),
                session,
                wanted_bytes: get_u64(m, 24),
            }),
            _ => Err(WireError::Malformed),
        }
    }
}

/// Server to client, private data of the accepted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rep {
    /// See [`REP_LEASE_KEPT`].
    pub flags: u16,
    /// Random for each server process.
    pub epoch: u64,
    /// Random for each allocation of memory: same lease, same contents.
    pub lease: u64,
    /// Memory the client may use.
    pub capacity_bytes: u64,
    /// Size of every chunk but perhaps the last; a power of two.
    pub chunk_bytes: u64,
    /// Number of entries in the chunk table.
    pub chunk_count: u32,
    /// Key to READ the chunk table with.
    pub table_rkey: u32,
    /// Where the chunk table is.
    pub table_addr: u64,
}

impl Rep {
    /// Whether the client's memory survived from an earlier session.
    pub fn lease_kept(&self) -> bool {
        self.flags & REP_LEASE_KEPT != 0
    }

    /// The message as it goes out.
    pub fn encode(&self) -> [u8; REP_LEN] {
        let mut out = [0; REP_LEN];
        put_head(&mut out, self.flags);
        put_u64(&mut out, 8, self.epoch);
        put_u64(&mut out, 16, self.lease);
        put_u64(&mut out, 24, self.capacity_bytes);
        put_u64(&mut out, 32, self.chunk_bytes);
        put_u32(&mut out, 40, self.chunk_count);
        put_u32(&mut out, 44, self.table_rkey);
        put_u64(&mut out, 48, self.table_addr);
        out
    }

    /// The message that came in. Whether its sizes fit together is
    /// [`Layout::new`](super::slots::Layout::new)'s to say.
    pub fn decode(bytes: &[u8]) -> Result<Rep, WireError> {
        check_head(bytes)?;
        let m: &[u8; REP_LEN] = prefix(bytes)?;
        Ok(Rep {
            flags: get_u16(m, 6),
            epoch: get_u64(m, 8),
            lease: get_u64(m, 16),
            capacity_bytes: get_u64(m, 24),
            chunk_bytes: get_u64(m, 32),
            chunk_count: get_u32(m, 40),
            table_rkey: get_u32(m, 44),
            table_addr: get_u64(m, 48),
        })
    }
}

/// Why a server turns a connection away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The request does not begin with [`MAGIC`].
    BadMagic,
    /// The request is of another version.
    BadVersion,
    /// All memory is leased to others.
    NoMemory,
    /// The session is older than, or the same as, one already seen.
    StaleSession,
    /// A field of the request has no meaning.
    Malformed,
    /// A reason this version does not know.
    Other(u16),
}

impl Reason {
    /// The reason's number on the wire.
    pub fn to_wire(self) -> u16 {
        match self {
            Reason::BadMagic => 1,
            Reason::BadVersion => 2,
            Reason::NoMemory => 3,
            Reason::StaleSession => 4,
            Reason::Malformed => 5,
            Reason::Other(n) => n,
        }
    }

    /// The reason a number stands for.
    pub fn from_wire(number: u16) -> Reason {
        match number {
            1 => Reason::BadMagic,
            2 => Reason::BadVersion,
            3 => Reason::NoMemory,
            4 => Reason::StaleSession,
            5 => Reason::Malformed,
            n => Reason::Other(n),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Reason::BadMagic => f.write_str("bad magic"),
            Reason::BadVersion => f.write_str("bad version"),
            Reason::NoMemory => f.write_str("no memory left"),
            Reason::StaleSession => f.write_str("stale session"),
            Reason::Malformed => f.write_str("malformed request"),
            Reason::Other(n) => write!(f, "unknown reason {n}"),
        }
    }
}

impl From<WireError> for Reason {
    fn from(error: WireError) -> Reason {
        match error {
            WireError::Magic(_) => Reason::BadMagic,
            WireError::Version(_) => Reason::BadVersion,
            WireError::Short | WireError::Malformed => Reason::Malformed,
        }
    }
}

/// Server to client, private data of the rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rej {
    /// The version the server speaks.
    pub version: u16,
    /// Why it says no.
    pub reason: Reason,
}

impl Rej {
    /// A rejection by this version's server.
    pub fn new(reason: Reason) -> Rej {
        Rej {
            version: VERSION,
            reason,
        }
    }

    /// The message as it goes out.
    pub fn encode(&self) -> [u8; REJ_LEN] {
        let mut out = [0; REJ_LEN];
        put_u32(&mut out, 0, MAGIC);
        put_u16(&mut out, 4, self.version);
        put_u16(&mut out, 6, self.reason.to_wire());
        out
    }

    /// The message that came in. Any version is accepted: this message is how
    /// a peer of another version says so.
    pub fn decode(bytes: &[u8]) -> Result<Rej, WireError> {
        let m: &[u8; REJ_LEN] = prefix(bytes)?;
        match get_u32(m, 0) {
            MAGIC => Ok(Rej {
                version: get_u16(m, 4),
                reason: Reason::from_wire(get_u16(m, 6)),
            }),
            other => Err(WireError::Magic(other)),
        }
    }
}

/// What stands before the chunks in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableHeader {
    /// As in [`Rep`].
    pub epoch: u64,
    /// As in [`Rep`].
    pub lease: u64,
    /// The session whose keys the table holds.
    pub session: u64,
    /// [`RELEASED`] once the client has detached for good.
    pub released: u64,
}

impl TableHeader {
    /// The header as it stands in memory.
    pub fn encode(&self) -> [u8; TABLE_HEADER_LEN] {
        let mut out = [0; TABLE_HEADER_LEN];
        put_head(&mut out, 0);
        put_u64(&mut out, 8, self.epoch);
        put_u64(&mut out, 16, self.lease);
        put_u64(&mut out, 24, self.session);
        put_u64(&mut out, 32, self.released);
        out
    }

    /// The header that was READ.
    pub fn decode(bytes: &[u8]) -> Result<TableHeader, WireError> {
        check_head(bytes)?;
        let m: &[u8; TABLE_HEADER_LEN] = prefix(bytes)?;
        Ok(TableHeader {
            epoch: get_u64(m, 8),
            lease: get_u64(m, 16),
            session: get_u64(m, 24),
            released: get_u64(m, 32),
        })
    }
}

/// One entry of the chunk table: a registered piece of the server's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Address of its first byte.
    pub addr: u64,
    /// Key to READ and WRITE it with.
    pub rkey: u32,
}

impl Chunk {
    /// The entry as it stands in memory.
    pub fn encode(&self) -> [u8; CHUNK_LEN] {
        let mut out = [0; CHUNK_LEN];
        put_u64(&mut out, 0, self.addr);
        put_u32(&mut out, 8, self.rkey);
        out
    }

    /// The entry that was READ.
    pub fn decode(bytes: &[u8]) -> Result<Chunk, WireError> {
        let m: &[u8; CHUNK_LEN] = prefix(bytes)?;
        Ok(Chunk {
            addr: get_u64(m, 0),
            rkey: get_u32(m, 8),
        })
    }
}

/// Bytes of a chunk table with `count` entries.
pub fn table_len(count: u32) -> u64 {
    TABLE_HEADER_LEN as u64 + u64::from(count) * CHUNK_LEN as u64
}

fn prefix<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], WireError> {
    bytes.first_chunk().ok_or(WireError::Short)
}

fn check_head(bytes: &[u8]) -> Result<(), WireError> {
    let m: &[u8; 8] = prefix(bytes)?;
    match (get_u32(m, 0), get_u16(m, 4)) {
        (MAGIC, VERSION) => Ok(()),
        (MAGIC, version) => Err(WireError::Version(version)),
        (magic, _) => Err(WireError::Magic(magic)),
    }
}

fn put_head(out: &mut [u8], last: u16) {
    put_u32(out, 0, MAGIC);
    put_u16(out, 4, VERSION);
    put_u16(out, 6, last);
}

// A field's bytes, or zeroes where the buffer is too short: callers hold arrays
// of the message's own size, so that never happens, and nothing can panic.
fn field<const N: usize>(m: &[u8], at: usize) -> [u8; N] {
    match m.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(bytes) => *bytes,
        None => [0; N],
    }
}

fn put<const N: usize>(out: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = bytes;
    }
}

fn get_u16(m: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(field(m, at))
}

fn get_u32(m: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(m, at))
}

fn get_u64(m: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(m, at))
}

fn put_u16(out: &mut [u8], at: usize, value: u16) {
    put(out, at, value.to_le_bytes());
}

fn put_u32(out: &mut [u8], at: usize, value: u32) {
    put(out, at, value.to_le_bytes());
}

fn put_u64(out: &mut [u8], at: usize, value: u64) {
    put(out, at, value.to_le_bytes());
}
