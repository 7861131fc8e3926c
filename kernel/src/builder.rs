//! From a checkout's definition to a finished kernel in the cache.

use rapidswap_progress::Reporter;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::cache::{Cache, create_dir, finish, unfinished};
use crate::definition::Definition;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::git::{BASE, Tree};
use crate::lock::Lock;
use crate::make::Make;
use crate::source;
use crate::toolchain::Toolchain;
use crate::{Kernel, Variant};

/// Part of every hash: changes whenever this crate builds differently from
/// the same inputs.
const RECIPE: &str = "2";

/// Name of the file in an `O=` directory that says what it was built from.
const STAMP: &str = "rapidswap.json";

/// What an `O=` directory holds, written after a build that succeeded and
/// removed before anything in there changes.
#[derive(Serialize, Deserialize, PartialEq, Eq, Debug)]
struct Stamp {
    hash: String,
    /// What was checked out; the tree is shared by all variants.
    commit: String,
}

/// One checkout's builder.
pub(crate) struct Builder {
    pub(crate) definition: Definition,
    pub(crate) cache: Cache,
    pub(crate) toolchain: Toolchain,
}

impl Builder {
    /// The builder of this checkout, on this user's cache, with the tools of
    /// a variant.
    pub(crate) fn open_default(variant: Variant) -> Result<Builder> {
        let definition = Definition::read(Path::new(env!("CARGO_MANIFEST_DIR")))?;
        let cache = Cache::open_default()?;
        let toolchain = Toolchain::probe(&definition.sources.tools, &cache.tools(), variant)?;
        Ok(Builder {
            definition,
            cache,
            toolchain,
        })
    }

    /// Hash of everything that goes into a kernel.
    pub(crate) fn hash(&self, variant: Variant) -> Result<String> {
        let mut digest = Digest::new();
        digest.part("recipe", RECIPE);
        digest.part("variant", variant.name());
        let source = source::identity(&self.definition.sources, &self.cache)?;
        digest.part("source", source);
        for patch in &self.definition.series {
            digest.part("patch", &patch.content);
        }
        for fragment in self.definition.fragments(variant)? {
            digest.part("fragment", &fragment.content);
        }
        for (tool, version) in &self.toolchain.identity {
            digest.part(tool, version);
        }
        Ok(digest.finish())
    }

    /// The kernel, built now if it is not in the cache; its time counts from
    /// `started`.
    pub(crate) fn ensure(
        &self,
        variant: Variant,
        started: Instant,
        reporter: &Reporter,
    ) -> Result<Kernel> {
        let hash = self.hash(variant)?;
        if let Some(kernel) = self.finished(variant, &hash, started) {
            return Ok(kernel);
        }
        let lock = self.cache.lock(reporter)?;
        // Another build may have made it while this one waited.
        if let Some(kernel) = self.finished(variant, &hash, started) {
            return Ok(kernel);
        }
        self.build(variant, &hash, &lock, reporter)?;
        self.finished(variant, &hash, started)
            .map(|kernel| Kernel {
                cached: false,
                ..kernel
            })
            .ok_or_else(|| Error::NoSource("the finished kernel has vanished".to_owned()))
    }

    fn finished(&self, variant: Variant, hash: &str, started: Instant) -> Option<Kernel> {
        let kernel = Kernel::collected(&self.cache.out().join(hash), started)?;
        Some(Kernel {
            build: self.cache.build(variant),
            hash: hash.to_owned(),
            cached: true,
            ..kernel
        })
    }

    /// Makes sure that the `O=` directory is that of the given kernel.
    pub(crate) fn ensure_build_dir(
        &self,
        variant: Variant,
        hash: &str,
        lock: &Lock,
        reporter: &Reporter,
    ) -> Result<()> {
        let stamp = fs::read(self.cache.build(variant).join(STAMP)).ok();
        let stamp = stamp.and_then(|bytes| serde_json::from_slice::<Stamp>(&bytes).ok());
        let head = Tree(&self.cache.linux()).resolve("HEAD").ok();
        if let (Some(stamp), Some(head)) = (stamp, head) {
            if stamp.hash == hash && stamp.commit == head {
                return Ok(());
            }
        }
        reporter.note("the kernel's build directory is not that of this kernel: building it again");
        self.build(variant, hash, lock, reporter)
    }

    fn build(&self, variant: Variant, hash: &str, lock: &Lock, reporter: &Reporter) -> Result<()> {
        let commit = self.prepare(variant, lock, reporter)?;
        let build = self.cache.build(variant);
        let stamp = build.join(STAMP);
        if stamp.exists() {
            fs::remove_file(&stamp).map_err(Error::file("remove", &stamp))?;
        }
        let make = self.make(&build);
        let fragments = self.definition.fragments(variant)?;
        make.configure(&fragments, self.committed_inputs(&commit)?, lock)?;
        make.compile(variant, self.cache.log(variant), lock, reporter)?;
        if self.finished(variant, hash, Instant::now()).is_none() {
            let dir = unfinished(&self.cache.out(), lock)?;
            make.collect(dir.path())?;
            finish(dir, &self.cache.out().join(hash))?;
        }
        let content = Stamp {
            hash: hash.to_owned(),
            commit,
        };
        let json = serde_json::to_vec(&content).expect("two strings are valid JSON");
        fs::write(&stamp, json).map_err(Error::file("write", &stamp))
    }

    /// Source, series and an `O=` directory, and nothing yet built in it.
    /// Returns the commit that is checked out.
    pub(crate) fn prepare(
        &self,
        variant: Variant,
        lock: &Lock,
        reporter: &Reporter,
    ) -> Result<String> {
        self.toolchain.check_headers()?;
        let commit = self.patched_source(lock, reporter)?;
        let build = self.cache.build(variant);
        create_dir(&build)?;
        variant.require_space(&build)?;
        Ok(commit)
    }

    /// Makes sure that the source tree is there with the series applied;
    /// returns the commit that is checked out.
    pub(crate) fn patched_source(&self, lock: &Lock, reporter: &Reporter) -> Result<String> {
        let version = source::ensure(&self.definition.sources, &self.cache, lock, reporter)?;
        let linux = self.cache.linux();
        let tree = Tree(&linux);
        let commit = tree.commit(BASE, &self.definition.series, &version)?;
        tree.check_out(&commit, lock)?;
        Ok(commit)
    }

    pub(crate) fn make<'a>(&'a self, build: &'a Path) -> Make<'a> {
        Make {
            toolchain: &self.toolchain,
            linux: self.cache.linux(),
            build,
        }
    }
}
