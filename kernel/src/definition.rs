//! The folder `kernel/` as the builder reads it: where the source comes from,
//! the series, the configuration fragments.

use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Variant;
use crate::error::{Error, Result};

/// `source.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sources {
    pub(crate) origin: Origin,
    pub(crate) line: String,
    pub(crate) debian: Debian,
    #[serde(rename = "kernel.org")]
    pub(crate) kernel_org: KernelOrg,
    pub(crate) tools: Tools,
}

/// Which of the two ways to the source is taken.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(crate) enum Origin {
    #[serde(rename = "auto")]
    Auto,
    #[serde(rename = "debian")]
    Debian,
    #[serde(rename = "kernel.org")]
    KernelOrg,
}

/// The Debian package's file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Debian {
    pub(crate) package: String,
    pub(crate) tarball: PathBuf,
    pub(crate) version: String,
}

/// A release's tarball.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KernelOrg {
    pub(crate) version: String,
    pub(crate) url: String,
    pub(crate) sha256: String,
}

/// Versions of the tools that the kernel's Rust support needs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tools {
    pub(crate) rustc: String,
    pub(crate) bindgen: String,
}

/// A named text: a patch or a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) path: PathBuf,
    pub(crate) content: String,
}

impl Text {
    pub(crate) fn read(path: PathBuf) -> Result<Text> {
        let content = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        Ok(Text { path, content })
    }

    pub(crate) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// Everything in the checkout that decides what kernel comes out.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    pub(crate) sources: Sources,
    /// In the order in which they apply.
    pub(crate) series: Vec<Text>,
    pub(crate) folder: PathBuf,
}

impl Definition {
    /// Reads the folder `kernel/` of a checkout.
    pub(crate) fn read(folder: &Path) -> Result<Definition> {
        let path = folder.join("source.toml");
        let text = Text::read(path.clone())?;
        let sources = toml::from_str(&text.content).map_err(|error| Error::Definition {
            path,
            why: error.message().to_owned(),
        })?;
        Ok(Definition {
            sources,
            series: series(&folder.join("patches"))?,
            folder: folder.to_owned(),
        })
    }

    /// Adds patches of somebody's own to the end of the series.
    pub(crate) fn add(&mut self, patches: &[PathBuf]) -> Result<()> {
        for patch in patches {
            // git reads it from elsewhere.
            let path = std::path::absolute(patch).map_err(Error::file("find", patch))?;
            self.series.push(Text::read(path)?);
        }
        Ok(())
    }

    /// The fragments of a variant; a later one overrides an earlier one.
    pub(crate) fn fragments(&self, variant: Variant) -> Result<Vec<Text>> {
        let names = variant.fragments().iter();
        let paths = names.map(|name| self.fragment_path(name));
        paths.map(Text::read).collect()
    }

    pub(crate) fn fragment_path(&self, name: &str) -> PathBuf {
        self.fragments_folder().join(format!("{name}.config"))
    }

    pub(crate) fn fragments_folder(&self) -> PathBuf {
        self.folder.join("config")
    }
}

pub(crate) fn series(folder: &Path) -> Result<Vec<Text>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::file("read", folder))? {
        let path = entry.map_err(Error::file("read", folder))?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "patch")
        {
            paths.push(path);
        }
    }
    paths.sort();
    paths.into_iter().map(Text::read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Symbols;

    #[test]
    fn this_checkout_is_valid() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let definition = Definition::read(folder).expect("valid");
        let sources = &definition.sources;
        for version in [&sources.debian.version, &sources.kernel_org.version] {
            assert!(version.starts_with(&format!("{}.", sources.line)));
        }
        assert!(sources.kernel_org.url.contains(&sources.kernel_org.version));
        assert_eq!(sources.kernel_org.sha256.len(), 64);
    }

    #[test]
    fn every_fragment_is_of_a_variant_and_there() {
        let definition = Definition::read(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("valid");
        let mut used = std::collections::BTreeSet::new();
        for variant in Variant::ALL {
            let fragments = definition.fragments(variant).expect("read");
            used.extend(fragments.iter().map(Text::name));
        }
        let files = fs::read_dir(definition.folder.join("config")).expect("list");
        let names = files.map(|file| file.expect("entry").file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        assert_eq!(used, names.collect());
    }

    #[test]
    fn the_kernel_of_hosts_has_the_options_of_the_original() {
        let definition = Definition::read(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("valid");
        let texts = definition.fragments(Variant::Host).expect("read");
        let all: Vec<_> = texts.iter().map(|text| text.content.as_str()).collect();
        let asked = Symbols::parse(&all.join("\n"));
        for (symbol, value) in ORIGINAL {
            assert_eq!(asked.value(symbol), value, "{symbol}");
        }
        // What ConnectX-4 needs, which the original does not have.
        for symbol in ["MLX5_CORE", "MLX5_CORE_EN", "MLX5_INFINIBAND"] {
            assert_eq!(asked.value(symbol), "y", "{symbol}");
        }
    }

    /// What the original's README lists of its configuration.
    const ORIGINAL: [(&str, &str); 18] = [
        ("INFINIBAND", "y"),
        ("INFINIBAND_USER_MAD", "y"),
        ("INFINIBAND_USER_ACCESS", "y"),
        ("INFINIBAND_USER_MEM", "y"),
        ("INFINIBAND_ON_DEMAND_PAGING", "y"),
        ("INFINIBAND_ADDR_TRANS", "y"),
        ("INFINIBAND_VIRT_DMA", "y"),
        ("INFINIBAND_MTHCA", "y"),
        ("INFINIBAND_MTHCA_DEBUG", "n"),
        ("INFINIBAND_QIB", "y"),
        ("INFINIBAND_CXGB4", "m"),
        ("INFINIBAND_EFA", "n"),
        ("MLX4_INFINIBAND", "y"),
        ("MLX4_EN", "y"),
        ("MLX4_EN_DCB", "y"),
        ("MLX4_CORE", "y"),
        ("MLX4_DEBUG", "y"),
        ("MLX4_CORE_GEN2", "y"),
    ];

    #[test]
    fn patches_apply_in_the_order_of_their_names() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for name in ["0010-c.patch", "0002-b.patch", "README", "0001-a.patch"] {
            fs::write(dir.path().join(name), name).expect("write");
        }
        let names: Vec<_> = series(dir.path())
            .expect("read")
            .iter()
            .map(Text::name)
            .collect();
        assert_eq!(names, ["0001-a.patch", "0002-b.patch", "0010-c.patch"]);
    }

    #[test]
    fn a_misspelt_key_is_named() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let toml = include_str!("../source.toml").replace("origin", "orign");
        fs::write(dir.path().join("source.toml"), toml).expect("write");
        let error = Definition::read(dir.path()).expect_err("not valid");
        assert!(error.to_string().contains("orign"), "{error}");
    }
}
