//! Putting a kernel configuration together and in place.

use rapidswap_progress::Reporter;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Variant;
use crate::builder::Builder;
use crate::cache::Lock;
use crate::config::{Symbols, lost};
use crate::definition::Text;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::git::Tree;
use crate::guarded::Guarded;

impl Builder {
    /// Makes the configuration and checks it, but does not put it in place;
    /// returns where it is.
    pub(crate) fn config(&self, variant: Variant, reporter: &Reporter) -> Result<PathBuf> {
        let lock = self.cache.lock(reporter)?;
        self.prepare(variant, &lock, reporter)?;
        let next = self.cache.build(variant).join(".config.next");
        self.merge(variant, &next, &self.definition.fragments(variant)?, &lock)?;
        Ok(next)
    }

    /// Puts the configuration in place. It is left alone when it is already
    /// what it should be, because make rebuilds what is older than it; and it
    /// is not even made again when nothing changed that it depends on, because
    /// Kconfig asks the compilers a thousand questions.
    pub(crate) fn configure(&self, variant: Variant, commit: &str, lock: &Lock) -> Result<()> {
        let build = self.cache.build(variant);
        let fragments = self.definition.fragments(variant)?;
        let (place, key) = (build.join(".config"), build.join(".config.key"));
        let digest = self.inputs(commit, &fragments)?;
        let keyed = |config: &str| {
            let mut digest = digest.clone();
            digest.part("configuration", config);
            digest.finish()
        };
        let present = fs::read_to_string(&place).unwrap_or_default();
        if fs::read_to_string(&key).is_ok_and(|key| key == keyed(&present)) {
            return Ok(());
        }
        let next = build.join(".config.next");
        let wanted = self.merge(variant, &next, &fragments, lock)?;
        if present == wanted {
            fs::remove_file(&next).map_err(Error::file("remove", &next))?;
        } else {
            fs::rename(&next, &place).map_err(Error::file("rename", &next))?;
        }
        fs::write(&key, keyed(&wanted)).map_err(Error::file("write", &key))
    }

    /// Everything that a configuration depends on.
    fn inputs(&self, commit: &str, fragments: &[Text]) -> Result<Digest> {
        let mut digest = Digest::new();
        for fragment in fragments {
            digest.part(&fragment.name(), &fragment.content);
        }
        for (tool, version) in &self.toolchain.identity {
            digest.part(tool, version);
        }
        for line in Tree(&self.cache.linux()).files(commit)?.lines() {
            if line.split_once('\t').is_some_and(|(_, path)| decides(path)) {
                digest.part("file", line);
            }
        }
        Ok(digest)
    }

    /// Merges the fragments into `next`, checks that every requested symbol
    /// survived, and returns the configuration.
    fn merge(
        &self,
        variant: Variant,
        next: &Path,
        fragments: &[Text],
        lock: &Lock,
    ) -> Result<String> {
        let build = self.cache.build(variant);
        let make = self.make(&build);
        // Kconfig writes to the file that this names instead of `.config`.
        let target = |target: &str| make.command().env("KCONFIG_CONFIG", next).arg(target);
        target("tinyconfig").run("starting the configuration", &build, lock)?;
        Guarded::new("sh")
            .arg(self.cache.linux().join("scripts/kconfig/merge_config.sh"))
            .args(["-m", "-Q"])
            .arg(next)
            .args(fragments.iter().map(|fragment| &fragment.path))
            .env("KCONFIG_CONFIG", next)
            .run("merging the configuration", &build, lock)?;
        target("olddefconfig").run("completing the configuration", &build, lock)?;
        let config = fs::read_to_string(next).map_err(Error::file("read", next))?;
        let lost = lost(fragments, &Symbols::parse(&config));
        if lost.is_empty() {
            Ok(config)
        } else {
            Err(Error::Config(lost))
        }
    }
}

/// Whether a file of the source tree can make a difference to Kconfig: what
/// it reads, and the scripts and makefiles that run it.
fn decides(path: &str) -> bool {
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
