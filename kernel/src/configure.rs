//! Putting a kernel configuration together and in place.

use rapidswap_cache::Key;
use rapidswap_progress::Reporter;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Variant;
use crate::builder::Builder;
use crate::config::{Symbols, lost};
use crate::definition::Text;
use crate::error::{Error, Result};
use crate::git::Tree;
use crate::guarded::Guarded;
use crate::lock::Lock;
use crate::make::Make;

impl Builder {
    /// Makes the configuration and checks it, but does not put it in place;
    /// returns where it is.
    pub(crate) fn configuration(&self, variant: Variant, reporter: &Reporter) -> Result<PathBuf> {
        let (lock, _) = self.prepare(variant, reporter)?;
        let build = self.cache.build(variant);
        let next = build.join(".config.next");
        let fragments = self.definition.fragments(variant)?;
        self.make(&build).merge(&next, &fragments, &lock)?;
        Ok(next)
    }

    /// What Kconfig reads in a commit.
    pub(crate) fn committed_inputs(&self, commit: &str) -> Result<Key> {
        let mut digest = Key::default();
        for line in Tree(&self.cache.linux()).files(commit)?.lines() {
            if line.split_once('\t').is_some_and(|(_, path)| decides(path)) {
                digest.part("file", line);
            }
        }
        Ok(digest)
    }
}

impl Make<'_> {
    /// Puts the configuration in place. It is left alone when it is already
    /// what it should be, because make rebuilds what is older than it; and it
    /// is not even made again when nothing changed that it depends on, because
    /// Kconfig asks the compilers a thousand questions. `inputs` is what
    /// Kconfig reads in the source tree.
    pub(crate) fn configure(&self, fragments: &[Text], mut inputs: Key, lock: &Lock) -> Result<()> {
        for fragment in fragments {
            inputs.part(&fragment.name(), &fragment.content);
        }
        for (tool, version) in &self.toolchain.identity {
            inputs.part(tool, version);
        }
        let keyed = |config: &str| {
            let mut digest = inputs.clone();
            digest.part("configuration", config);
            digest.finish()
        };
        let (place, key) = (self.build.join(".config"), self.build.join(".config.key"));
        let present = fs::read_to_string(&place).unwrap_or_default();
        if fs::read_to_string(&key).is_ok_and(|key| key == keyed(&present)) {
            return Ok(());
        }
        let next = self.build.join(".config.next");
        let wanted = self.merge(&next, fragments, lock)?;
        if present == wanted {
            fs::remove_file(&next).map_err(Error::file("remove", &next))?;
        } else {
            fs::rename(&next, &place).map_err(Error::file("rename", &next))?;
        }
        fs::write(&key, keyed(&wanted)).map_err(Error::file("write", &key))
    }

    /// Merges the fragments into `next`, checks that every requested symbol
    /// survived, and returns the configuration.
    pub(crate) fn merge(&self, next: &Path, fragments: &[Text], lock: &Lock) -> Result<String> {
        let config = self.assemble(next, fragments, lock)?;
        let lost = lost(fragments, &Symbols::parse(&config));
        if lost.is_empty() {
            Ok(config)
        } else {
            Err(Error::Config(lost))
        }
    }

    /// The same without the check.
    pub(crate) fn assemble(&self, next: &Path, fragments: &[Text], lock: &Lock) -> Result<String> {
        self.kconfig("tinyconfig", next)
            .run("starting the configuration", self.build, lock)?;
        Guarded::new("sh")
            .arg(self.linux.join("scripts/kconfig/merge_config.sh"))
            .args(["-m", "-Q"])
            .arg(next)
            .args(fragments.iter().map(|fragment| &fragment.path))
            .env("KCONFIG_CONFIG", next)
            .run("merging the configuration", self.build, lock)?;
        self.kconfig("olddefconfig", next)
            .run("completing the configuration", self.build, lock)?;
        fs::read_to_string(next).map_err(Error::file("read", next))
    }

    /// A target of Kconfig's, on `config` instead of `.config`.
    pub(crate) fn kconfig(&self, target: &str, config: &Path) -> Guarded {
        self.command().env("KCONFIG_CONFIG", config).arg(target)
    }
}

/// Whether a file of the source tree can make a difference to Kconfig: what
/// it reads, and the scripts and makefiles that run it.
pub(crate) fn decides(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.starts_with("Kconfig")
        || path == "Makefile"
        || path.starts_with("arch/x86/Makefile")
        || path.starts_with("scripts/")
        || path.contains("/configs/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_do_not_decide_the_configuration() {
        for path in [
            "mm/Kconfig",
            "lib/Kconfig.debug",
            "Makefile",
            "scripts/cc-version.sh",
            "kernel/configs/tiny-base.config",
        ] {
            assert!(decides(path), "{path}");
        }
        for path in [
            "mm/swap.c",
            "mm/Makefile",
            "include/linux/kconfig.h",
            "MAINTAINERS",
        ] {
            assert!(!decides(path), "{path}");
        }
    }
}
