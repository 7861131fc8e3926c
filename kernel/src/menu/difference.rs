//! Which symbols make one configuration of another.

use std::collections::BTreeSet;

use crate::config::Symbols;
use crate::menu::configuration::Configuration;

/// Sets of symbols that, set as in `after`, may make `after` of `before`; the
/// smaller ones first. Which of them do only Kconfig can say. `asked` is what
/// the fragments ask for.
pub(crate) fn candidates(
    asked: &Symbols,
    before: &Configuration,
    after: &Configuration,
) -> Vec<BTreeSet<String>> {
    let owned = |names: Vec<&str>| {
        names
            .into_iter()
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    // What a fragment asks for must not stay asked for when it is gone.
    let refused = asked
        .names()
        .filter(|name| asked.stated(name) != Some(after.whole.value(name)));
    // What was set against its default.
    let chosen = after
        .minimal
        .names()
        .filter(|name| before.minimal.stated(name) != after.minimal.stated(name));
    // What went back to its default: by hand, or because what it depends on
    // went away.
    let returned = before.minimal.names().filter(|name| {
        after.minimal.stated(name).is_none() && before.whole.value(name) != after.whole.value(name)
    });
    let first: BTreeSet<_> = owned(refused.chain(chosen).collect());
    let second: BTreeSet<_> = &first | &owned(returned.collect());
    let all = &second | &before.whole.differing(&after.whole);
    let mut candidates = vec![first, second, all];
    candidates.dedup();
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(whole: &str, minimal: &str) -> Configuration {
        Configuration {
            whole: Symbols::parse(whole),
            minimal: Symbols::parse(minimal),
        }
    }

    #[test]
    fn what_follows_from_a_choice_comes_last() {
        let asked = Symbols::parse("CONFIG_SWAP=y");
        let before = configuration("CONFIG_SWAP=y", "CONFIG_SWAP=y");
        let after = configuration(
            "CONFIG_SWAP=y\nCONFIG_NET=y\nCONFIG_INET=y\nCONFIG_CRC=y",
            "CONFIG_SWAP=y\nCONFIG_NET=y",
        );
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(
            candidates(&asked, &before, &after),
            [names(&["NET"]), names(&["CRC", "INET", "NET"])]
        );
    }

    #[test]
    fn what_a_fragment_asks_for_in_vain_is_taken_back() {
        let asked = Symbols::parse("CONFIG_NET=y\nCONFIG_RXE=m\nCONFIG_SWAP=y");
        let before = configuration(
            "CONFIG_NET=y\nCONFIG_RXE=m\nCONFIG_SWAP=y\nCONFIG_CRC=y\nCONFIG_SIW=m",
            "CONFIG_NET=y\nCONFIG_RXE=m\nCONFIG_SWAP=y\nCONFIG_SIW=m",
        );
        let after = configuration("CONFIG_SWAP=y", "CONFIG_SWAP=y");
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(
            candidates(&asked, &before, &after),
            [
                names(&["NET", "RXE"]),
                names(&["NET", "RXE", "SIW"]),
                names(&["CRC", "NET", "RXE", "SIW"]),
            ]
        );
    }

    #[test]
    fn a_value_kept_against_a_new_default_is_a_choice() {
        let before = configuration("", "");
        let after = configuration("CONFIG_NET=y", "CONFIG_NET=y\n# CONFIG_INET is not set");
        let first = candidates(&Symbols::default(), &before, &after).remove(0);
        assert_eq!(first, ["INET", "NET"].map(str::to_owned).into());
    }
}
