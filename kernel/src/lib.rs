//! The kernel that Rapidswap runs on: source, patch series, configuration and
//! build, cached by the content of all that goes in.
//!
//! The cache is shared by all checkouts of a user. In it lie the source tree
//! as a git repository, one `O=` directory for each variant, and the finished
//! kernels by hash; `kernel/README.md` describes the whole.

#![forbid(unsafe_code)]

#[cfg(test)]
mod bench;
mod builder;
mod cache;
mod checkpatch;
mod compile;
mod compilers;
mod config;
mod configure;
mod definition;
mod digest;
mod edit;
mod error;
mod external;
mod git;
mod guarded;
mod letter;
mod lock;
mod make;
mod menu;
mod module_sources;
mod package;
#[cfg(test)]
mod pipeline_tests;
mod series;
#[cfg(test)]
mod sharing_tests;
mod source;
mod toolchain;
mod tree_build;
#[cfg(test)]
mod tree_build_tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use builder::Builder;
use cache::Cache;
use clap::ValueEnum;
use definition::Definition;
pub use edit::patches::Change;
pub use error::{Error, Result};
pub use menu::{ConfigChange, Interface};
use rapidswap_progress::Reporter;
use serde::{Deserialize, Serialize};

/// Which kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// The one that clusters run by default.
    #[default]
    Release,
    /// The same with checks of locks, memory and more, built with clang.
    Debug,
    /// For machines that boot by themselves, and their RDMA cards.
    Host,
}

impl Variant {
    /// All there are.
    pub const ALL: [Variant; 3] = [Variant::Release, Variant::Debug, Variant::Host];

    /// Its name on command lines and in the cache.
    pub fn name(self) -> &'static str {
        match self {
            Variant::Release => "release",
            Variant::Debug => "debug",
            Variant::Host => "host",
        }
    }

    /// The names of its configuration fragments: `config/NAME.config`. A later
    /// one overrides an earlier one.
    pub fn fragments(self) -> &'static [&'static str] {
        match self {
            Variant::Release => &["base", "vm"],
            Variant::Debug => &["base", "vm", "debug"],
            // It boots in a virtual machine too, where it is tested.
            Variant::Host => &["base", "vm", "host", "mlx"],
        }
    }

    /// How many times longer than on the release kernel something may take.
    /// Without KVM the debug kernel takes ten times as long to boot.
    pub fn patience(self) -> u32 {
        match self {
            Variant::Release | Variant::Host => 1,
            Variant::Debug => 12,
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A finished kernel.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The uncompressed kernel, which boots by PVH.
    pub vmlinux: PathBuf,
    /// Directory of the in-tree modules, all `*.ko` side by side.
    pub modules: PathBuf,
    /// The configuration it was built with.
    pub config: PathBuf,
    /// What `uname -r` says.
    pub release: String,
    /// The `O=` directory.
    pub build: PathBuf,
    /// The source tree, if it is not the series of this checkout but one that
    /// somebody edits.
    pub tree: Option<PathBuf>,
    /// Hash of all that went in; of a [`tree`](Kernel::tree) of what came out.
    pub hash: String,
    /// Whether it was there already.
    pub cached: bool,
    /// How long it took to have it.
    pub seconds: f64,
}

/// The folder of `remoteswap.ko` in this checkout.
pub const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../module");

/// The kernel of this checkout, built now if the cache does not have it.
pub fn ensure(variant: Variant, reporter: &Reporter) -> Result<Kernel> {
    let started = Instant::now();
    Builder::open_default(variant)?.ensure(variant, started, reporter)
}

/// The same with more patches on top of the series, to try them. Modules are not
/// built for it: they are those of the checkout's own kernel.
pub fn ensure_with(patches: &[PathBuf], variant: Variant, reporter: &Reporter) -> Result<Kernel> {
    let started = Instant::now();
    let mut builder = Builder::open_default(variant)?;
    builder.definition.add(patches)?;
    builder.ensure(variant, started, reporter)
}

/// The `vmlinux` of the kernel of this checkout, if the cache has it.
pub fn built(variant: Variant) -> Result<Option<PathBuf>> {
    let built = Builder::open_default(variant)?.built(variant)?;
    Ok(built.map(|kernel| kernel.vmlinux))
}

/// The module `remoteswap.ko` of this checkout for `kernel`, as by [`modules`].
pub fn module(kernel: &Kernel, variant: Variant, reporter: &Reporter) -> Result<PathBuf> {
    let mut modules = modules(kernel, variant, Path::new(MODULE), reporter)?;
    Ok(modules.remove(0))
}

/// The out-of-tree modules of any folder with a `Kbuild` or `Makefile` of
/// kbuild's, for `kernel`: where the `*.ko` are, by name. They are built now if
/// the cache does not have them; for the kernel of a tree, as far as they
/// changed. Nothing is written to `folder`.
pub fn modules(
    kernel: &Kernel,
    variant: Variant,
    folder: &Path,
    reporter: &Reporter,
) -> Result<Vec<PathBuf>> {
    Builder::open_default(variant)?.modules(kernel, variant, folder, reporter)
}

/// The kernel of any source tree, with the configuration of this checkout,
/// whether what was edited there is committed or not.
///
/// Only what changed since the last build is built: every tree has, for each
/// variant, an `O=` directory of its own in the cache. What came out lies
/// beside it until the next build of that tree has succeeded, and does not
/// count as a kernel of the cache. [`module`] builds against it; do that before
/// the tree is edited again.
///
/// The tree must be of the line of kernels that the series is for, and not
/// have been built in place.
pub fn build_tree(dir: &Path, variant: Variant, reporter: &Reporter) -> Result<Kernel> {
    let started = Instant::now();
    Builder::open_default(variant)?.build_tree(dir, variant, started, reporter)
}

/// Makes the configuration without building or changing what was built, and
/// checks that every requested symbol survived; returns where it is.
pub fn configure(variant: Variant, reporter: &Reporter) -> Result<PathBuf> {
    Builder::open_default(variant)?.configuration(variant, reporter)
}

/// Lets the user change a variant's configuration by one of Kconfig's own
/// interfaces, and writes what changed to a fragment: no more symbols than it
/// takes for the fragments to give that very configuration again, which is
/// checked before. Returns none, and writes nothing, if nothing was changed.
///
/// `fragment` is the name of one of the variant's fragments, whose file need not
/// exist; by default it is `vm` for the release kernel and `debug` or `host`
/// for the others.
pub fn config(
    variant: Variant,
    fragment: Option<&str>,
    interface: Interface,
    reporter: &Reporter,
) -> Result<Option<ConfigChange>> {
    Builder::open_default(variant)?.edit_config(variant, fragment, interface, reporter)
}

/// The kernel of this checkout as a compressed tar file of what belongs below
/// `/` on a machine that boots it; made now if the cache does not have it.
pub fn package(variant: Variant, reporter: &Reporter) -> Result<PathBuf> {
    Builder::open_default(variant)?.package(variant, reporter)
}

/// Makes a git tree with the series as commits on the tag `base`, or brings
/// the one in `dir` up to date; returns where it is. A tree with anything in
/// it that is not in the series is left as it is, with a note. Without `dir`
/// the tree lies in the cache.
pub fn edit(dir: Option<&Path>, reporter: &Reporter) -> Result<PathBuf> {
    let definition = Definition::read(Path::new(env!("CARGO_MANIFEST_DIR")))?;
    let cache = Cache::open_default()?;
    let dir = dir.map_or_else(|| cache.edit(), Path::to_owned);
    edit::edit(&definition, &cache, &dir, reporter)
}

/// Turns the commits of a tree that [`edit`] made into this checkout's series,
/// and says what that changed. Nothing is touched unless all of them can be
/// patches.
pub fn refresh(dir: Option<&Path>, reporter: &Reporter) -> Result<Vec<Change>> {
    let dir = match dir {
        Some(dir) => dir.to_owned(),
        None => Cache::open_default()?.edit(),
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("patches");
    edit::refresh::refresh(&dir, &folder, reporter)
}

/// Runs `checkpatch.pl --strict` over the series, with its remarks to
/// `reporter`; returns how many patches are clean.
pub fn checkpatch(reporter: &Reporter) -> Result<usize> {
    Builder::open_default(Variant::Release)?.checkpatch(reporter)
}

/// The Rust compiler that builds the kernel, of the version in `source.toml`.
pub fn rustc() -> Result<PathBuf> {
    Ok(Builder::open_default(Variant::Release)?.rustc().to_owned())
}

/// Hash under which the kernel of this checkout is cached.
pub fn hash(variant: Variant) -> Result<String> {
    Builder::open_default(variant)?.hash(variant)
}

/// Hash under which the modules of a folder are cached for the kernel of this
/// checkout.
pub fn module_hash(variant: Variant, folder: &Path) -> Result<String> {
    let sources = module_sources::Sources::read(folder)?;
    Ok(sources.hash(&hash(variant)?))
}
