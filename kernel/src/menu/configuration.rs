//! What of a configuration was chosen, and what Kconfig made of that.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::config::{Symbols, symbol};
use crate::error::{Error, Result};
use crate::guarded::succeeded;
use crate::lock::Lock;
use crate::make::Make;

/// A configuration, whole and as `savedefconfig` writes it: without all that
/// follows from the rest.
pub(crate) struct Configuration {
    pub(crate) whole: Symbols,
    pub(crate) minimal: Symbols,
}

impl Make<'_> {
    /// What a file holds.
    pub(crate) fn configuration(&self, config: &Path, lock: &Lock) -> Result<Configuration> {
        self.kconfig("savedefconfig", config)
            .run("reading the configuration", self.build, lock)?;
        let minimal = self.build.join("defconfig");
        let configuration = Configuration {
            whole: Symbols::parse(&read(config)?),
            minimal: Symbols::parse(&read(&minimal)?),
        };
        fs::remove_file(&minimal).map_err(Error::file("remove", &minimal))?;
        Ok(configuration)
    }

    /// The text of a file without the symbols that are on only because others
    /// select them. Stated, they would count as chosen, and stay on when those
    /// others are turned off.
    pub(crate) fn without_selected(
        &self,
        config: &Path,
        known: &Configuration,
        lock: &Lock,
    ) -> Result<String> {
        let text = read(config)?;
        let chosen = |name: &str| known.minimal.stated(name).is_some();
        let keep = |names: &dyn Fn(&str) -> bool| -> String {
            let keep = |line: &&str| symbol(line).is_none_or(|(name, _)| names(name));
            let lines = text.lines().filter(keep);
            lines.map(|line| format!("{line}\n")).collect()
        };
        let minimal = config.with_extension("minimal");
        fs::write(&minimal, keep(&chosen)).map_err(Error::file("write", &minimal))?;
        // Asks for what nobody chose and somebody could.
        let mut output = Vec::new();
        let status = self
            .kconfig("listnewconfig", &minimal)
            .lines(self.build, lock, |line| {
                output.push(line.to_owned());
                Ok(())
            })?;
        succeeded("listing the configuration", status, &output)?;
        let symbols = output.iter().filter_map(|line| symbol(line));
        let open: BTreeSet<_> = symbols.map(|(name, _)| name).collect();
        Ok(keep(&|name| chosen(name) || open.contains(name)))
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(Error::file("read", path))
}
