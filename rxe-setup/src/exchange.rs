//! What the two sides of a proof tell each other, and the data they move.

/// First word of every message.
const MAGIC: u32 = 0x5650_5352; // "RSPV"
/// Version of this exchange.
const VERSION: u32 = 1;
/// Length of an encoded [`Hello`].
pub const HELLO_LEN: usize = 40;
/// Length of an encoded [`Note`].
pub const NOTE_LEN: usize = 24;
/// Bytes of each READ and WRITE.
pub const PAGE: usize = 4096;

/// Private data of request and answer: where this side's memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Start of `count` pages to READ, then as many to WRITE.
    pub addr: u64,
    /// Key for them.
    pub rkey: u32,
    /// READs, and WRITEs, of each side.
    pub count: u32,
    /// What this side's data is made from.
    pub seed: u64,
}

impl Hello {
    /// The message as it goes out.
    pub fn encode(&self) -> [u8; HELLO_LEN] {
        let mut out = [0; HELLO_LEN];
        out[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[4..8].copy_from_slice(&VERSION.to_le_bytes());
        out[8..16].copy_from_slice(&self.addr.to_le_bytes());
        out[16..20].copy_from_slice(&self.rkey.to_le_bytes());
        out[20..24].copy_from_slice(&self.count.to_le_bytes());
        out[24..32].copy_from_slice(&self.seed.to_le_bytes());
        out
    }

    /// The message that came in; `None` if it is not one of these.
    pub fn decode(bytes: &[u8]) -> Option<Hello> {
        let m: &[u8; HELLO_LEN] = bytes.first_chunk()?;
        if u32_at(m, 0) != MAGIC || u32_at(m, 4) != VERSION {
            return None;
        }
        Some(Hello {
            addr: u64_at(m, 8),
            rkey: u32_at(m, 16),
            count: u32_at(m, 20),
            seed: u64_at(m, 24),
        })
    }
}

/// What one side found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// Wrong bytes among those it READ.
    pub bad_read: u64,
    /// Wrong bytes among those the other side WROTE to it.
    pub bad_written: u64,
}

impl Note {
    /// The message as it goes out.
    pub fn encode(&self) -> [u8; NOTE_LEN] {
        let mut out = [0; NOTE_LEN];
        out[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[8..16].copy_from_slice(&self.bad_read.to_le_bytes());
        out[16..24].copy_from_slice(&self.bad_written.to_le_bytes());
        out
    }

    /// The message that came in.
    pub fn decode(bytes: &[u8; NOTE_LEN]) -> Option<Note> {
        let note = Note {
            bad_read: u64_at(bytes, 8),
            bad_written: u64_at(bytes, 16),
        };
        (u32_at(bytes, 0) == MAGIC).then_some(note)
    }
}

/// Two kinds of data are made from a side's seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// What lies in its memory to be READ.
    Source,
    /// What it WRITEs.
    Written,
}

/// The bytes of one page.
pub fn page(seed: u64, data: Data, index: u32) -> [u8; PAGE] {
    let stream = match data {
        Data::Source => 0,
        Data::Written => 1 << 63,
    };
    let mut out = [0; PAGE];
    for (i, word) in out.chunks_exact_mut(8).enumerate() {
        let at = stream | (u64::from(index) << 16) | i as u64;
        word.copy_from_slice(&mix(seed ^ mix(at)).to_le_bytes());
    }
    out
}

/// How many bytes differ.
pub fn differences(a: &[u8], b: &[u8]) -> u64 {
    // Nearly always; that is found out by words.
    if a == b {
        return 0;
    }
    a.iter().zip(b).filter(|(a, b)| a != b).count() as u64 + a.len().abs_diff(b.len()) as u64
}

// The finaliser of splitmix64: every output bit depends on every input bit.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn u32_at(m: &[u8], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&m[at..at + 4]);
    u32::from_le_bytes(bytes)
}

fn u64_at(m: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&m[at..at + 8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_survive(addr: u64, rkey: u32, count: u32, seed: u64, bad_read: u64, bad_written: u64) {
            let hello = Hello { addr, rkey, count, seed };
            let mut padded = hello.encode().to_vec();
            padded.resize(196, 0);
            prop_assert_eq!(Hello::decode(&padded), Some(hello));
            let note = Note { bad_read, bad_written };
            prop_assert_eq!(Note::decode(&note.encode()), Some(note));
        }

        #[test]
        fn strangers_are_no_peers(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(Hello::decode(&bytes), None);
        }

        #[test]
        fn no_two_pages_are_alike(seed: u64, a in 0u32..70000, b in 0u32..70000) {
            prop_assume!(a != b);
            let one = page(seed, Data::Source, a);
            // By chance one byte in 256 agrees.
            for other in [page(seed, Data::Source, b), page(seed, Data::Written, a), page(seed ^ 1, Data::Source, a)] {
                prop_assert!(differences(&one, &other) > 3900);
            }
        }
    }

    #[test]
    fn every_byte_counts() {
        let good = page(1, Data::Source, 0);
        let mut bad = good;
        bad[0] ^= 1;
        bad[PAGE - 1] ^= 0x80;
        assert_eq!(differences(&good, &bad), 2);
        assert!(differences(&good, &good[1..]) > 0);
    }
}
