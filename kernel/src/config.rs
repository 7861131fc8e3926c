//! Kernel configuration: what the fragments ask for, and whether Kconfig
//! granted it.

use std::collections::{BTreeMap, BTreeSet};

use crate::definition::Text;

/// Value that stands for `# CONFIG_X is not set`.
const OFF: &str = "n";

/// Symbols with their values; off and absent are the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Symbols(BTreeMap<String, String>);

impl Symbols {
    /// Reads a `.config` or a fragment. A later line overrides an earlier one.
    pub(crate) fn parse(text: &str) -> Symbols {
        let lines = text.lines().filter_map(symbol);
        Symbols(
            lines
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// What a fragment or `.config` says of a symbol; none if nothing.
    pub(crate) fn stated(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn value(&self, name: &str) -> &str {
        self.stated(name).unwrap_or(OFF)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The symbols that have another value there.
    pub(crate) fn differing(&self, other: &Symbols) -> BTreeSet<String> {
        let names = self.names().chain(other.names());
        let differing = names.filter(|name| self.value(name) != other.value(name));
        differing.map(str::to_owned).collect()
    }
}

/// The line that gives a symbol a value.
pub(crate) fn line(name: &str, value: &str) -> String {
    match value {
        OFF => format!("# CONFIG_{name} is not set"),
        value => format!("CONFIG_{name}={value}"),
    }
}

/// The symbol that a line of a `.config` or fragment is about, and its value.
pub(crate) fn symbol(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if let Some(rest) = line.strip_prefix("# CONFIG_") {
        return Some((rest.strip_suffix(" is not set")?, OFF));
    }
    line.strip_prefix("CONFIG_")?.split_once('=')
}

/// Which symbols did not survive, each with the fragment that asked for it.
pub(crate) fn lost(fragments: &[Text], granted: &Symbols) -> Vec<String> {
    let mut wanted = BTreeMap::new();
    for fragment in fragments {
        for (name, value) in Symbols::parse(&fragment.content).0 {
            wanted.insert(name, (value, fragment.name()));
        }
    }
    wanted
        .into_iter()
        .filter_map(|(name, (value, fragment))| {
            let got = granted.value(&name);
            (got != value).then(|| format!("CONFIG_{name}={value} ({fragment}) is {got}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fragment(name: &str, content: &str) -> Text {
        Text {
            path: name.into(),
            content: content.to_owned(),
        }
    }

    #[test]
    fn each_lost_symbol_is_named_with_its_fragment() {
        let fragments = [
            fragment(
                "base.config",
                "CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\n# a comment\n",
            ),
            fragment("vm.config", "CONFIG_D=\"a b\"\nCONFIG_E=64\nCONFIG_F=y\n"),
        ];
        let granted =
            Symbols::parse("CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=y\nCONFIG_D=\"\"\nCONFIG_E=64\n");
        assert_eq!(
            lost(&fragments, &granted),
            [
                "CONFIG_B=m (base.config) is y",
                "CONFIG_C=n (base.config) is y",
                "CONFIG_D=\"a b\" (vm.config) is \"\"",
                "CONFIG_F=y (vm.config) is n",
            ]
        );
    }

    #[test]
    fn a_later_fragment_overrides_an_earlier_one() {
        let fragments = [
            fragment("base.config", "CONFIG_A=y\n"),
            fragment("debug.config", "# CONFIG_A is not set\n"),
        ];
        assert!(lost(&fragments, &Symbols::parse("")).is_empty());
        assert_eq!(
            lost(&fragments, &Symbols::parse("CONFIG_A=y")),
            ["CONFIG_A=n (debug.config) is y"]
        );
    }

    fn values() -> impl Strategy<Value = BTreeMap<String, String>> {
        prop::collection::btree_map(
            "[A-Z][A-Z0-9_]{0,6}",
            "[ym]|[0-9]{1,4}|\"[ -!#-~]{0,6}\"|n",
            0..12,
        )
    }

    fn render(values: &BTreeMap<String, String>) -> String {
        values
            .iter()
            .map(|(name, value)| line(name, value) + "\n")
            .collect()
    }

    proptest! {
        #[test]
        fn what_is_granted_is_never_lost(values in values(), more in "# [a-z ]{0,10}\n") {
            let text = render(&values);
            prop_assert_eq!(&Symbols::parse(&text).0, &values);
            let granted = Symbols::parse(&(more + &text));
            prop_assert!(lost(&[fragment("f", &text)], &granted).is_empty());
        }

        #[test]
        fn exactly_the_changed_symbol_is_lost(values in values(), pick in any::<prop::sample::Index>()) {
            prop_assume!(!values.is_empty());
            let (name, value) = values.iter().nth(pick.index(values.len())).expect("not empty");
            let mut changed = values.clone();
            changed.insert(name.clone(), if value == "y" { "m" } else { "y" }.to_owned());
            let lost = lost(&[fragment("f", &render(&values))], &Symbols::parse(&render(&changed)));
            prop_assert_eq!(lost.len(), 1);
            let prefix = format!("CONFIG_{}=", name);
            prop_assert!(lost[0].starts_with(&prefix));
        }
    }
}
