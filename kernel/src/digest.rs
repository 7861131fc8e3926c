//! Content hashes under which finished things are cached.

use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};

/// Collects labelled parts into one hash. Every part is framed by its length,
/// so that no two different lists of parts hash alike.
#[derive(Clone, Default)]
pub(crate) struct Digest(Sha256);

impl Digest {
    pub(crate) fn new() -> Digest {
        Digest::default()
    }

    pub(crate) fn part(&mut self, label: &str, content: impl AsRef<[u8]>) {
        for bytes in [label.as_bytes(), content.as_ref()] {
            self.0.update((bytes.len() as u64).to_le_bytes());
            self.0.update(bytes);
        }
    }

    /// 20 hex digits: short enough for a path, long enough not to collide.
    pub(crate) fn finish(self) -> String {
        let mut hex = format!("{:x}", self.0.finalize());
        hex.truncate(20);
        hex
    }
}

/// SHA-256 of a file, in hex.
pub(crate) fn sha256_of(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::file("open", path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer).map_err(Error::file("read", path))?;
        if n == 0 {
            return Ok(format!("{:x}", hash.finalize()));
        }
        hash.update(&buffer[..n]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest(parts: &[(String, Vec<u8>)]) -> String {
        let mut digest = Digest::new();
        for (label, content) in parts {
            digest.part(label, content);
        }
        digest.finish()
    }

    proptest! {
        #[test]
        fn different_parts_hash_differently(
            a in prop::collection::vec((".{0,4}", prop::collection::vec(any::<u8>(), 0..4)), 0..4),
            b in prop::collection::vec((".{0,4}", prop::collection::vec(any::<u8>(), 0..4)), 0..4),
        ) {
            prop_assert_eq!(a == b, digest(&a) == digest(&b));
        }

        #[test]
        fn a_moved_boundary_is_another_hash(text in "[a-z]{2,12}", at in 0usize..12, to in 0usize..12) {
            let (at, to) = (at % text.len(), to % text.len());
            let split = |i: usize| digest(&[(text[..i].to_owned(), text.as_bytes()[i..].to_vec())]);
            prop_assert_eq!(at == to, split(at) == split(to));
        }
    }

    #[test]
    fn sha256_is_the_standard_one() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("abc");
        std::fs::write(&path, "abc").expect("write");
        assert_eq!(
            sha256_of(&path).expect("hash"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
