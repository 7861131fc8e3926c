//! The declared list of packages.

use std::fs;
use std::path::Path;

use crate::{Error, Result};

/// The names in the list at `path`, sorted, each once.
pub(crate) fn read(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
    parse(&text).map_err(|(line, text)| Error::Package {
        path: path.to_owned(),
        line,
        text,
    })
}

fn parse(text: &str) -> std::result::Result<Vec<String>, (usize, String)> {
    let mut names = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let name = line.split('#').next().unwrap_or_default().trim();
        if name.is_empty() {
            continue;
        }
        if !is_package_name(name) {
            return Err((index + 1, name.to_owned()));
        }
        names.push(name.to_owned());
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// Debian policy 5.6.1. Names go to apt through mmdebstrap, where anything
/// else would be an option, a pattern or a path.
fn is_package_name(name: &str) -> bool {
    name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn comments_blank_lines_order_and_repetition_do_not_matter() {
        let list = "# tools\n\n  time # /usr/bin/time\nkmod\ntime\n";
        assert_eq!(parse(list), Ok(vec!["kmod".to_owned(), "time".to_owned()]));
    }

    #[test]
    fn two_names_in_one_line_are_refused_with_the_line() {
        let list = "kmod\ntime procps\n";
        assert_eq!(parse(list), Err((2, "time procps".to_owned())));
    }

    proptest! {
        #[test]
        fn nothing_but_names_passes(text in "\\PC{0,20}(\\n\\PC{0,20}){0,3}") {
            if let Ok(names) = parse(&text) {
                for name in names {
                    prop_assert!(!name.starts_with(['-', '.', '/', '?', '~', '(', '!']));
                    prop_assert!(!name.contains([' ', ',', '=', '/', '\t']));
                }
            }
        }
    }
}
