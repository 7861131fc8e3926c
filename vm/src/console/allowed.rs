//! The list of kernel faults that are known and fail no test.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error as NameError;

use crate::cluster::profile::{CLIENT, SERVER};
use crate::console::splat::{Splat, SplatKind};
use crate::error::{Error, IoContext, Result};

/// The list of this checkout.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/allowed-faults.txt");

/// Names another list.
const OTHER: &str = "RAPIDSWAP_ALLOWED_FAULTS";

/// Stands for every node, and for every kind.
const ANY: &str = "any";

/// Faults that are known.
#[derive(Debug, Default)]
pub struct Allowed(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    node: Option<String>,
    kind: Option<SplatKind>,
    text: String,
    reason: String,
}

impl Allowed {
    /// Reads the list of this checkout, or the one that
    /// `$RAPIDSWAP_ALLOWED_FAULTS` names.
    pub fn load() -> Result<Allowed> {
        let other = env::var_os(OTHER).filter(|path| !path.is_empty());
        Allowed::read(&other.map_or_else(|| FILE.into(), PathBuf::from))
    }

    fn read(path: &Path) -> Result<Allowed> {
        let text = fs::read_to_string(path).what(|| format!("cannot read {}", path.display()))?;
        Allowed::parse(&text)
            .map_err(|problem| Error::BadOption(format!("{}, {problem}", path.display())))
    }

    fn parse(text: &str) -> Result<Allowed, String> {
        let lines = text.lines().enumerate();
        let lines = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        let entries = lines.map(|(index, line)| {
            Entry::parse(line).map_err(|problem| format!("line {}: `{line}`: {problem}", index + 1))
        });
        Ok(Allowed(entries.collect::<Result<_, _>>()?))
    }

    /// Why a fault is known, if it is.
    pub fn reason(&self, splat: &Splat) -> Option<&str> {
        let entry = self.0.iter().find(|entry| entry.fits(splat))?;
        Some(&entry.reason)
    }
}

impl Entry {
    fn parse(line: &str) -> Result<Entry, String> {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [node, kind, text, reason] = fields[..] else {
            return Err("write NODE | KIND | TEXT | REASON".into());
        };
        if fields.iter().any(|field| field.is_empty()) {
            return Err("a field is empty: write NODE | KIND | TEXT | REASON".into());
        }
        if node != ANY && !is_node(node) {
            return Err(format!(
                "no node is called `{node}`: use client, server, server2 and so on, or any"
            ));
        }
        let kind = match kind {
            ANY => None,
            name => {
                let name = IntoDeserializer::<NameError>::into_deserializer(name);
                let kind = SplatKind::deserialize(name).map_err(|error| error.to_string());
                Some(kind?)
            }
        };
        Ok(Entry {
            node: (node != ANY).then(|| node.to_owned()),
            kind,
            text: text.to_owned(),
            reason: reason.to_owned(),
        })
    }

    fn fits(&self, splat: &Splat) -> bool {
        self.node.as_ref().is_none_or(|node| *node == splat.node)
            && self.kind.is_none_or(|kind| kind == splat.kind)
            && splat.text.contains(&self.text)
    }
}

/// Whether a cluster may have a node of that name.
fn is_node(name: &str) -> bool {
    name == CLIENT
        || name.strip_prefix(SERVER).is_some_and(|number| {
            let plain = number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
            number.is_empty() || plain && number != "1"
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::occasion::Occasion;

    fn splat(node: &str, kind: SplatKind) -> Splat {
        Splat {
            node: node.to_owned(),
            line: 1,
            kind,
            text: "WARNING: CPU: 0 PID: 1 at rxe_qp.c:1".to_owned(),
            occasion: Occasion::BeforeTests,
        }
    }

    #[test]
    fn the_list_of_this_checkout_is_empty() {
        assert!(Allowed::load().expect("a valid list").0.is_empty());
    }

    #[test]
    fn a_fault_is_known_only_on_its_node_and_of_its_kind() {
        let list = "# a comment\n\nserver | warning | at rxe_qp.c | rxe, see README\n";
        let allowed = Allowed::parse(list).expect("valid");
        let reason = |node, kind| allowed.reason(&splat(node, kind)).map(str::to_owned);
        let known = Some("rxe, see README".to_owned());
        assert_eq!(reason("server", SplatKind::Warning), known);
        assert_eq!(reason("client", SplatKind::Warning), None);
        assert_eq!(reason("server", SplatKind::Oops), None);
        let third = Allowed::parse("server3 | any | rxe_qp | why").expect("valid");
        assert!(third.reason(&splat("server3", SplatKind::Oops)).is_some());
        assert!(third.reason(&splat("server", SplatKind::Oops)).is_none());
        let any = Allowed::parse("any | any | rxe_qp | why").expect("valid");
        assert!(any.reason(&splat("client", SplatKind::Oops)).is_some());
        let other = Allowed::parse("any | any | siw | why").expect("valid");
        assert!(other.reason(&splat("client", SplatKind::Oops)).is_none());
    }

    #[test]
    fn a_line_of_another_form_is_an_error_that_names_it() {
        for line in [
            "server | warning | text",
            "server | warning | | why",
            "somewhere | warning | text | why",
            "server1 | warning | text | why",
            "servers | warning | text | why",
            "client2 | warning | text | why",
            "server | wrning | text | why",
            "server | warning | text | why | more",
        ] {
            let error = Allowed::parse(line).expect_err(line);
            assert!(error.contains("line 1: `"), "{error}");
        }
        assert!(Allowed::read(Path::new("/nowhere")).is_err());
    }
}
