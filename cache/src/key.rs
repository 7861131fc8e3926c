//! Names by content.

use sha2::{Digest as _, Sha256};

/// Makes one name of all that a thing is made of. Each part is framed by its
/// length, so that no two different lists of parts have the same name.
#[derive(Clone, Debug, Default)]
pub struct Key(Sha256);

impl Key {
    /// Adds a part.
    pub fn put(&mut self, part: impl AsRef<[u8]>) {
        let part = part.as_ref();
        self.count(part.len());
        self.0.update(part);
    }

    /// Adds a part and what it is.
    pub fn part(&mut self, label: &str, content: impl AsRef<[u8]>) {
        self.put(label);
        self.put(content);
    }

    /// Adds a list, which does not run into the next one.
    pub fn list(&mut self, parts: &[impl AsRef<[u8]>]) {
        self.count(parts.len());
        for part in parts {
            self.put(part);
        }
    }

    /// The name, of 20 hex digits: short enough for a path, long enough not to
    /// collide.
    pub fn finish(self) -> String {
        let mut hex = format!("{:x}", self.0.finalize());
        hex.truncate(20);
        hex
    }

    fn count(&mut self, count: usize) {
        self.0.update((count as u64).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(add: impl FnOnce(&mut Key)) -> String {
        let mut key = Key::default();
        add(&mut key);
        key.finish()
    }

    fn of_parts(parts: &[(String, Vec<u8>)]) -> String {
        name(|key| {
            for (label, content) in parts {
                key.part(label, content);
            }
        })
    }

    #[test]
    fn names_stay_what_they_are() {
        // Other names would have everything built anew.
        let parts = name(|key| {
            key.part("recipe", "3");
            key.part("patch", "text");
        });
        assert_eq!(parts, "2f45bcee172ea7c5fd67");
        let lists = name(|key| {
            key.list(&["1", "trixie"]);
            key.list(&["a"]);
        });
        assert_eq!(lists, "19d3746bc78d0114eec0");
    }

    proptest! {
        #[test]
        fn different_parts_have_different_names(
            a in prop::collection::vec((".{0,4}", prop::collection::vec(any::<u8>(), 0..4)), 0..4),
            b in prop::collection::vec((".{0,4}", prop::collection::vec(any::<u8>(), 0..4)), 0..4),
        ) {
            prop_assert_eq!(a == b, of_parts(&a) == of_parts(&b));
        }

        #[test]
        fn a_moved_boundary_is_another_name(text in "[a-z]{2,12}", at in 0usize..12, to in 0usize..12) {
            let (at, to) = (at % text.len(), to % text.len());
            let split = |i: usize| name(|key| key.part(&text[..i], &text[i..]));
            prop_assert_eq!(at == to, split(at) == split(to));
        }

        #[test]
        fn lists_do_not_run_together(a in "[a-z]{1,4}", b in "[a-z]{1,4}") {
            let joined = format!("{a}{b}");
            let one = name(|key| key.list(&[&a, &b]));
            prop_assert_ne!(&one, &name(|key| key.list(&[&joined])));
            let two = name(|key| {
                key.list(&[&a]);
                key.list(&[&b]);
            });
            prop_assert_ne!(&one, &two);
        }
    }
}
