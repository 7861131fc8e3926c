//! The list of kernel faults that are known and fail no test.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rapidswap_vm::{Splat, SplatKind};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error as NameError;

use crate::rapidswap::root;

/// The list of this checkout.
const FILE: &str = "tests/allowed-faults.txt";

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
    /// Reads the list of this checkout.
    pub fn load() -> Result<Allowed> {
        Allowed::read(&root().join(FILE))
    }

    fn read(path: &Path) -> Result<Allowed> {
        let text = fs::read_to_string(path);
        let text = text.with_context(|| format!("read {}", path.display()))?;
        Allowed::parse(&text).with_context(|| format!("{}", path.display()))
    }

    fn parse(text: &str) -> Result<Allowed> {
        let lines = text.lines().enumerate();
        let lines = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        let entries = lines.map(|(index, line)| {
            Entry::parse(line).with_context(|| format!("line {}: `{line}`", index + 1))
        });
        Ok(Allowed(entries.collect::<Result<_>>()?))
    }

    /// Why a fault is known, if it is.
    pub fn reason(&self, splat: &Splat) -> Option<&str> {
        let entry = self.0.iter().find(|entry| entry.fits(splat))?;
        Some(&entry.reason)
    }
}

impl Entry {
    fn parse(line: &str) -> Result<Entry> {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [node, kind, text, reason] = fields[..] else {
            bail!("write NODE | KIND | TEXT | REASON");
        };
        if fields.iter().any(|field| field.is_empty()) {
            bail!("a field is empty: write NODE | KIND | TEXT | REASON");
        }
        if !["client", "server", ANY].contains(&node) {
            bail!("no node is called `{node}`: use client, server or any");
        }
        let kind = match kind {
            ANY => None,
            name => {
                let name = IntoDeserializer::<NameError>::into_deserializer(name);
                Some(SplatKind::deserialize(name)?)
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

#[cfg(test)]
mod tests {
    use super::*;
    use rapidswap_vm::Occasion;

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
            "server | wrning | text | why",
            "server | warning | text | why | more",
        ] {
            let error = Allowed::parse(line).expect_err(line);
            assert!(format!("{error:#}").contains("line 1: `"), "{error:#}");
        }
        assert!(Allowed::read(Path::new("/nowhere")).is_err());
    }
}
