//! What a user changes in a menu, and what of it a fragment then says.

use rapidswap_progress::Reporter;
use std::fs;

use crate::bench::{Bench, read};
use crate::config::Symbols;
use crate::error::Result;
use crate::menu::{ConfigChange, Interface};
use crate::{Kernel, Variant};

fn edit_config(bench: &Bench, fragment: Option<&str>) -> Result<Option<ConfigChange>> {
    let reporter = Reporter::silent();
    bench
        .builder
        .edit_config(Variant::Release, fragment, Interface::Config, &reporter)
}

/// Has the user change the configuration with a script of sed's.
fn change(bench: &Bench, fragment: Option<&str>, script: &str) -> Result<Option<ConfigChange>> {
    // Unpacking the source would take the answers away.
    let builder = &bench.builder;
    let prepared = builder.configuration(Variant::Release, &Reporter::silent());
    prepared.expect("configures");
    let answers = builder.cache.build(Variant::Release).join("answers");
    fs::write(answers, format!("sed -i '{script}' \"$1\"\n")).expect("write");
    edit_config(bench, fragment)
}

fn changed(bench: &mut Bench, fragment: Option<&str>, script: &str) -> Vec<String> {
    let change = change(bench, fragment, script).expect("works");
    bench.reload();
    change.expect("something changed").lines
}

fn fragment(bench: &Bench, name: &str) -> String {
    read(&bench.builder.definition.fragment_path(name))
}

fn built(bench: &Bench) -> Symbols {
    let kernel: Kernel = bench.ensure().expect("builds");
    Symbols::parse(&read(&kernel.config))
}

#[test]
fn nothing_changed_is_nothing_written() {
    let bench = Bench::new();
    let before = fragment(&bench, "vm");
    assert!(change(&bench, None, "").expect("works").is_none());
    assert!(
        change(&bench, Some("base"), "$a # said\n")
            .expect("works")
            .is_none()
    );
    assert_eq!(fragment(&bench, "vm"), before);
    assert_eq!(fragment(&bench, "base"), "CONFIG_SWAP=y\n");
}

#[test]
fn only_the_choice_is_written_not_what_follows() {
    let mut bench = Bench::new();
    bench.write(
        "config/vm.config",
        "# Quiet.\n# CONFIG_SOUND is not set\n# End.\n",
    );
    let lines = changed(&mut bench, None, "$a CONFIG_NET=y\\nCONFIG_DEBUG=y");
    assert_eq!(lines, ["CONFIG_DEBUG=y", "CONFIG_NET=y"]);
    assert_eq!(
        fragment(&bench, "vm"),
        "# Quiet.\n# CONFIG_SOUND is not set\n# End.\nCONFIG_DEBUG=y\nCONFIG_NET=y\n"
    );
    let config = built(&bench);
    for name in ["NET", "INET", "DEBUG", "TRACE", "SWAP"] {
        assert_eq!(config.value(name), "y", "{name}");
    }
}

#[test]
fn a_default_that_is_declined_is_written() {
    let mut bench = Bench::new();
    let lines = changed(
        &mut bench,
        None,
        "$a CONFIG_NET=y\\n# CONFIG_INET is not set",
    );
    assert_eq!(lines, ["# CONFIG_INET is not set", "CONFIG_NET=y"]);
    assert_eq!(built(&bench).value("INET"), "n");
    // And taken back again.
    let lines = changed(&mut bench, None, "s/# CONFIG_INET is.*/CONFIG_INET=y/");
    assert_eq!(lines, ["CONFIG_INET=y"]);
    assert_eq!(built(&bench).value("INET"), "y");
}

#[test]
fn the_line_of_a_symbol_is_changed_in_place() {
    let mut bench = Bench::new();
    bench.write(
        "config/vm.config",
        "# Quiet.\n# CONFIG_SOUND is not set\n# End.\n",
    );
    let lines = changed(&mut bench, None, "s/# CONFIG_SOUND is.*/CONFIG_SOUND=m/");
    assert_eq!(lines, ["CONFIG_SOUND=m"]);
    assert_eq!(fragment(&bench, "vm"), "# Quiet.\nCONFIG_SOUND=m\n# End.\n");
}

#[test]
fn what_can_no_longer_be_had_is_not_asked_for_any_more() {
    let mut bench = Bench::new();
    bench.write(
        "config/base.config",
        "CONFIG_SWAP=y\nCONFIG_NET=y\nCONFIG_RDMA=m\n",
    );
    let lines = changed(&mut bench, None, "s/CONFIG_NET=y/# CONFIG_NET is not set/");
    assert_eq!(
        lines,
        ["# CONFIG_NET is not set", "# CONFIG_RDMA is not set"]
    );
    assert_eq!(built(&bench).value("RDMA"), "n");
}

#[test]
fn what_was_selected_goes_with_what_selected_it() {
    let mut bench = Bench::new();
    bench.write("config/base.config", "CONFIG_SWAP=y\nCONFIG_DEBUG=y\n");
    assert_eq!(built(&bench).value("TRACE"), "y");
    let lines = changed(
        &mut bench,
        None,
        "s/CONFIG_DEBUG=y/# CONFIG_DEBUG is not set/",
    );
    assert_eq!(lines, ["# CONFIG_DEBUG is not set"]);
    assert_eq!(built(&bench).value("TRACE"), "n");
}

#[test]
fn a_later_fragment_has_the_last_word() {
    let mut bench = Bench::new();
    let lines = changed(&mut bench, None, "$a CONFIG_NUMA=y");
    assert_eq!(lines, ["CONFIG_NUMA=y"]);
    assert_eq!(built(&bench).value("NUMA"), "y");
    // What comes later counts, so an earlier one cannot take it back.
    let base = fragment(&bench, "base");
    let script = "s/CONFIG_NUMA=y/# CONFIG_NUMA is not set/";
    let error = change(&bench, Some("base"), script);
    let error = error.expect_err("comes later").to_string();
    assert!(
        error.ends_with("vm.config comes later and has CONFIG_NUMA: --fragment vm"),
        "{error}"
    );
    assert_eq!(fragment(&bench, "base"), base);
}

#[test]
fn what_kconfig_does_not_grant_is_not_written() {
    let bench = Bench::new();
    let before = fragment(&bench, "vm");
    let error = change(&bench, None, "$a CONFIG_NEEDS_MORE=y").expect_err("is not granted");
    let error = error.to_string();
    let wanted = "vm.config cannot take the change, and nothing was written: \
                  CONFIG_NEEDS_MORE=y (vm.config) is n, CONFIG_NEEDS_MORE would be n, not y";
    assert!(error.ends_with(wanted), "{error}");
    assert_eq!(fragment(&bench, "vm"), before);
}

#[test]
fn names_and_terminals_are_looked_at_first() {
    let bench = Bench::new();
    let error = |fragment: &str| {
        let result = edit_config(&bench, Some(fragment));
        result.expect_err("not possible").to_string()
    };
    for name in ["", "../base", "a b"] {
        assert!(
            error(name).contains("a fragment's name is letters"),
            "{name}"
        );
    }
    assert!(error("debug").ends_with("the release kernel has no such fragment, but base, vm"));
    assert!(!bench.builder.cache.linux().exists());
}
