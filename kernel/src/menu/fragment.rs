//! New values in the text of a fragment that people wrote.

use crate::config::{line, symbol};

/// The text with these values. A symbol that it speaks of has its line
/// changed, the last one if there are several; others follow at the end. All
/// else stays as it is.
pub(crate) fn set(text: &str, values: &[(String, String)]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (name, value) in values {
        let about = |line: &String| symbol(line).is_some_and(|(about, _)| about == name);
        match lines.iter().rposition(about) {
            Some(at) => lines[at] = line(name, value),
            None => lines.push(line(name, value)),
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Symbols;
    use proptest::prelude::*;

    fn values(values: &[(&str, &str)]) -> Vec<(String, String)> {
        let values = values.iter();
        values
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect()
    }

    #[test]
    fn lines_stay_where_they_are() {
        let text = "# Memory.\nCONFIG_A=y\n\n# CONFIG_B is not set\nCONFIG_AB=m\n# end";
        let set = set(
            text,
            &values(&[("A", "n"), ("B", "\"x y\""), ("C", "64"), ("D", "n")]),
        );
        assert_eq!(
            set,
            "# Memory.\n# CONFIG_A is not set\n\nCONFIG_B=\"x y\"\nCONFIG_AB=m\n# end\n\
             CONFIG_C=64\n# CONFIG_D is not set\n"
        );
    }

    #[test]
    fn the_line_that_counts_is_changed() {
        let text = "CONFIG_A=y\nCONFIG_A=m\n";
        assert_eq!(
            set(text, &values(&[("A", "n")])),
            "CONFIG_A=y\n# CONFIG_A is not set\n"
        );
    }

    proptest! {
        #[test]
        fn what_is_set_is_read_back_and_nothing_else_changes(
            before in prop::collection::btree_map("[A-D]{1,2}", "[ymn]", 0..6),
            new in prop::collection::btree_map("[A-D]{1,2}", "[ymn]", 0..6),
        ) {
            let lines = before.iter().map(|(name, value)| format!("# said\n{}\n", line(name, value)));
            let text: String = lines.collect();
            let new: Vec<_> = new.into_iter().collect();
            let result = Symbols::parse(&set(&text, &new));
            let mut wanted = before;
            wanted.extend(new);
            for (name, value) in &wanted {
                prop_assert_eq!(result.value(name), value);
            }
            prop_assert_eq!(result.names().count(), wanted.len());
        }
    }
}
