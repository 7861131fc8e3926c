//! The fragments of a variant while one of them changes.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Variant;
use crate::config::{Symbols, line, lost};
use crate::definition::{Definition, Text};
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::make::Make;
use crate::menu::ConfigChange;
use crate::menu::configuration::Configuration;
use crate::menu::difference::candidates;
use crate::menu::fragment::set;

/// The fragments of a configuration while one of them changes.
pub(crate) struct Session {
    pub(crate) fragments: Vec<Text>,
    /// Which one is to be written to; its path is a temporary one.
    target: usize,
    /// Where it belongs.
    place: PathBuf,
}

impl Session {
    /// The fragments, with the one to write to in `scratch`.
    pub(crate) fn open(
        definition: &Definition,
        variant: Variant,
        name: &str,
        scratch: &Path,
    ) -> Result<Session> {
        let place = definition.fragment_path(name);
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(plain) {
            let why = "a fragment's name is letters, digits, - and _";
            return Err(Error::fragment(place, why));
        }
        let names = variant.fragments();
        if !names.contains(&name) {
            let (variant, names) = (variant.name(), names.join(", "));
            let why = format!("the {variant} kernel has no such fragment, but {names}");
            return Err(Error::fragment(place, why));
        }
        let mut fragments = Vec::new();
        let mut target = 0;
        for &known in names {
            let path = definition.fragment_path(known);
            if known != name {
                fragments.push(Text::read(path)?);
                continue;
            }
            target = fragments.len();
            let content = if path.exists() {
                Text::read(path)?.content
            } else {
                String::new()
            };
            let path = scratch.join(format!("{name}.config"));
            fs::write(&path, &content).map_err(Error::file("write", &path))?;
            fragments.push(Text { path, content });
        }
        Ok(Session {
            fragments,
            target,
            place,
        })
    }

    /// Writes the smallest change that gives the configuration `after`.
    pub(crate) fn write(
        &mut self,
        make: &Make<'_>,
        before: &Configuration,
        after: &Configuration,
        lock: &Lock,
    ) -> Result<ConfigChange> {
        let old = self.fragments[self.target].content.clone();
        let contents = self.fragments.iter().map(|text| text.content.as_str());
        let asked = Symbols::parse(&contents.collect::<Vec<_>>().join("\n"));
        let mut differing = Vec::new();
        for names in candidates(&asked, before, after) {
            let value = |name: String| {
                let value = after.whole.value(&name).to_owned();
                (name, value)
            };
            let values: Vec<_> = names.into_iter().map(value).collect();
            self.check_later(&values)?;
            let target = &mut self.fragments[self.target];
            target.content = set(&old, &values);
            fs::write(&target.path, &target.content).map_err(Error::file("write", &target.path))?;
            let config = target.path.with_extension("check");
            let made = Symbols::parse(&make.assemble(&config, &self.fragments, lock)?);
            differing = lost(&self.fragments, &made);
            let others = made.differing(&after.whole);
            differing.extend(others.iter().map(|name| {
                let (wanted, made) = (after.whole.value(name), made.value(name));
                format!("CONFIG_{name} would be {made}, not {wanted}")
            }));
            if differing.is_empty() {
                return self.install(&old, &values);
            }
        }
        Err(Error::fragment(&self.place, differing.join(", ")))
    }

    /// A later fragment would override the change.
    fn check_later(&self, values: &[(String, String)]) -> Result<()> {
        for later in &self.fragments[self.target + 1..] {
            let asked = Symbols::parse(&later.content);
            for (name, value) in values {
                if asked.stated(name).is_some_and(|asked| asked != value) {
                    let file = later.name();
                    let other = file.trim_end_matches(".config");
                    let why =
                        format!("{file} comes later and has CONFIG_{name}: --fragment {other}");
                    return Err(Error::fragment(&self.place, why));
                }
            }
        }
        Ok(())
    }

    fn install(&self, old: &str, values: &[(String, String)]) -> Result<ConfigChange> {
        let half = self.place.with_extension("config.new");
        let content = &self.fragments[self.target].content;
        fs::write(&half, content).map_err(Error::file("write", &half))?;
        fs::rename(&half, &self.place).map_err(Error::file("write", &self.place))?;
        let lines = values.iter().map(|(name, value)| line(name, value));
        Ok(ConfigChange {
            fragment: self.place.clone(),
            lines: lines
                .filter(|line| old.lines().all(|old| old != line))
                .collect(),
        })
    }
}
