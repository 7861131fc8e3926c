//! Kconfig's own menus on a variant's configuration, with the outcome as lines
//! of a fragment.

mod configuration;
mod difference;
mod fragment;
mod session;
mod terminal;
#[cfg(test)]
mod tests;

use clap::ValueEnum;
use rapidswap_progress::Reporter;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::Variant;
use crate::builder::Builder;
use crate::error::{Error, Result};
use crate::guarded::ending;
use crate::lock::Lock;
use session::Session;

/// How Kconfig asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Interface {
    /// Menus on the terminal.
    Menuconfig,
    /// Menus on the terminal, with function keys.
    Nconfig,
    /// A window, by Qt.
    Xconfig,
    /// A window, by GTK.
    Gconfig,
    /// One line for each question, which needs no terminal.
    Config,
}

impl Interface {
    /// Its name as a target of make.
    pub fn name(self) -> &'static str {
        match self {
            Interface::Menuconfig => "menuconfig",
            Interface::Nconfig => "nconfig",
            Interface::Xconfig => "xconfig",
            Interface::Gconfig => "gconfig",
            Interface::Config => "config",
        }
    }
}

/// What the user made of a configuration.
#[derive(Clone, Debug)]
pub struct ConfigChange {
    /// The fragment that was written.
    pub fragment: PathBuf,
    /// The lines that it has now and had not before.
    pub lines: Vec<String>,
}

impl Builder {
    /// Lets the user change a variant's configuration; none if nothing was
    /// changed. `fragment` is the name of the one to write to, by default the
    /// one that is about this variant alone.
    pub(crate) fn edit_config(
        &self,
        variant: Variant,
        fragment: Option<&str>,
        interface: Interface,
        reporter: &Reporter,
    ) -> Result<Option<ConfigChange>> {
        let on_terminal = matches!(interface, Interface::Menuconfig | Interface::Nconfig);
        if on_terminal && !terminal::is_there() {
            return Err(Error::NoTerminal(interface.name()));
        }
        let name = fragment.unwrap_or(match variant {
            Variant::Release => "vm",
            Variant::Debug => "debug",
            Variant::Host => "host",
        });
        let scratch =
            tempfile::tempdir().map_err(Error::file("create", "a temporary directory"))?;
        let _fragments = Lock::folder(&self.definition.fragments_folder(), reporter)?;
        let mut session = Session::open(&self.definition, variant, name, scratch.path())?;
        let (lock, _) = self.prepare(variant, reporter)?;
        let build = self.cache.build(variant);
        let make = self.make(&build);

        let step = reporter.step("configuration", Duration::from_secs(20));
        let config = scratch.path().join("config");
        make.merge(&config, &session.fragments, &lock)?;
        let before = make.configuration(&config, &lock)?;
        let start = make.without_selected(&config, &before, &lock)?;
        fs::write(&config, &start).map_err(Error::file("write", &config))?;
        step.done("done");
        let status = terminal::run(&make.kconfig(interface.name(), &config), &build)?;
        if !status.success() {
            return Err(Error::Command {
                what: format!("make {}", interface.name()),
                status: ending(status),
                why: "the reason is above".to_owned(),
            });
        }
        let saved = fs::read_to_string(&config).map_err(Error::file("read", &config))?;
        if saved == start {
            return Ok(None);
        }
        let after = make.configuration(&config, &lock)?;
        if before.whole.differing(&after.whole).is_empty() {
            return Ok(None);
        }
        let step = reporter.step("fragment", Duration::from_secs(20));
        let change = session.write(&make, &before, &after, &lock)?;
        step.done("done");
        Ok(Some(change))
    }
}
