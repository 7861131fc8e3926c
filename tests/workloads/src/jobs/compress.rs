//! Text is compressed block by block, and decompressed again (LZ4).

use lz4_flex::block::{compress, decompress};

use super::{Done, bytes, digest};
use crate::shuffle::Random;

/// Text in a block.
const BLOCK: usize = 256 << 10;

const WORDS: [&str; 16] = [
    "page", "fault", "remote", "memory", "swap", "the", "of", "and", "server", "reads", "writes",
    "kernel", "slot", "is", "a", "quickly",
];

/// Compresses text that takes `mib` MiB together with what becomes of it.
pub fn run(mib: u32) -> Done {
    // The text shrinks to about a third.
    let blocks = bytes(mib) * 3 / 4 / BLOCK;
    let texts: Vec<Vec<u8>> = (0..blocks as u64).map(text).collect();
    let packed: Vec<Vec<u8>> = texts.iter().map(|text| compress(text)).collect();
    let wrong = (0..)
        .zip(&texts)
        .zip(&packed)
        .filter(|&((number, kept), packed)| {
            let same = |unpacked: Vec<u8>| unpacked == *kept && unpacked == text(number);
            !decompress(packed, BLOCK).is_ok_and(same)
        });
    let wrong = wrong.count() as u64;
    let packed = packed.iter().flatten();
    Done {
        checksum: digest(packed.map(|&byte| u64::from(byte))),
        wrong,
    }
}

/// Words in a random order.
fn text(block: u64) -> Vec<u8> {
    let mut random = Random::new(block);
    let mut text = Vec::with_capacity(BLOCK);
    while text.len() < BLOCK {
        text.extend(WORDS[random.below(WORDS.len() as u32) as usize].bytes());
        text.push(b' ');
    }
    text.truncate(BLOCK);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_and_takes_the_memory_it_should() {
        let done = run(2);
        assert_eq!(done.wrong, 0);
        assert_eq!(done, run(2));
        let share = compress(&text(1)).len() as f64 / BLOCK as f64;
        assert!((0.2..0.45).contains(&share), "{share}");
        assert_ne!(text(1), text(2));
    }
}
