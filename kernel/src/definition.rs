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

    /// The fragments of a variant; a later one overrides an earlier one.
    pub(crate) fn fragments(&self, variant: Variant) -> Result<Vec<Text>> {
        let names = self.fragment_names(variant)?;
        let paths = names.iter().map(|name| self.fragment_path(name));
        paths.map(Text::read).collect()
    }

    /// Their names. All that are not of one variant only are of both, so that
    /// a new one needs no more than its file.
    pub(crate) fn fragment_names(&self, variant: Variant) -> Result<Vec<String>> {
        let folder = self.folder.join("config");
        let mut others = Vec::new();
        for entry in fs::read_dir(&folder).map_err(Error::file("read", &folder))? {
            let name = entry.map_err(Error::file("read", &folder))?.file_name();
            let name = name.to_string_lossy();
            match name.strip_suffix(".config") {
                Some("base" | "vm" | "debug" | "") | None => {}
                Some(name) => others.push(name.to_owned()),
            }
        }
        others.sort();
        let mut names = vec!["base".to_owned(), "vm".to_owned()];
        names.append(&mut others);
        if variant == Variant::Debug {
            names.push("debug".to_owned());
        }
        Ok(names)
    }

    pub(crate) fn fragment_path(&self, name: &str) -> PathBuf {
        self.folder.join("config").join(format!("{name}.config"))
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
        assert_eq!(definition.fragments(Variant::Debug).expect("read").len(), 3);
    }

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
    fn a_new_fragment_is_of_both_variants_and_debug_comes_last() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let folder = dir.path().join("config");
        fs::create_dir(&folder).expect("create");
        for name in ["base", "debug", "vm", "zfs", "numa", ""] {
            fs::write(folder.join(format!("{name}.config")), "").expect("write");
        }
        fs::write(folder.join("README"), "").expect("write");
        fs::write(
            dir.path().join("source.toml"),
            include_str!("../source.toml"),
        )
        .expect("write");
        let definition = Definition::read(dir.path()).expect("valid");
        let names = |variant| definition.fragment_names(variant).expect("read");
        assert_eq!(names(Variant::Release), ["base", "vm", "numa", "zfs"]);
        assert_eq!(
            names(Variant::Debug),
            ["base", "vm", "numa", "zfs", "debug"]
        );
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
