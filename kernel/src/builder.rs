//! From a checkout's definition to a finished kernel in the cache.

use rapidswap_cache::{Key, finish};
use rapidswap_progress::Reporter;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::cache::{Cache, create_dir, unfinished};
use crate::definition::Definition;
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
        let toolchain = Toolchain::of(variant, &definition.sources.tools, &cache.tools())?;
        Ok(Builder {
            definition,
            cache,
            toolchain,
        })
    }

    /// The Rust compiler of the tools.
    pub(crate) fn rustc(&self) -> &Path {
        &self.toolchain.rustc
    }

    /// Hash of everything that goes into a kernel.
    pub(crate) fn hash(&self, variant: Variant) -> Result<String> {
        let mut digest = Key::default();
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
        let (lock, commit) = self.prepare(variant, reporter)?;
        // Another build may have made it while this one waited.
        if let Some(kernel) = self.finished(variant, &hash, started) {
            return Ok(kernel);
        }
        self.build(variant, &hash, commit, &lock, reporter)?;
        self.finished(variant, &hash, started)
            .map(|kernel| Kernel {
                cached: false,
                ..kernel
            })
            .ok_or_else(|| Error::NoSource("the finished kernel has vanished".to_owned()))
    }

    /// The kernel, if it is there already.
    pub(crate) fn built(&self, variant: Variant) -> Result<Option<Kernel>> {
        Ok(self.finished(variant, &self.hash(variant)?, Instant::now()))
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

    /// Makes sure that the `O=` directory is that of the given kernel. Gives
    /// the locks of both back, though not the same ones if it had to be built:
    /// the source may have to change for that.
    pub(crate) fn ensure_build_dir(
        &self,
        variant: Variant,
        hash: &str,
        lock: Lock,
        reporter: &Reporter,
    ) -> Result<Lock> {
        if self.is_of(variant, hash, &lock)? {
            return Ok(lock);
        }
        drop(lock);
        let (lock, commit) = self.prepare(variant, reporter)?;
        if !self.is_of(variant, hash, &lock)? {
            reporter
                .note("the kernel's build directory is not that of this kernel: building it again");
            self.build(variant, hash, commit, &lock, reporter)?;
        }
        Ok(lock)
    }

    /// Whether an `O=` directory is that of a kernel, and the source with it.
    fn is_of(&self, variant: Variant, hash: &str, _lock: &Lock) -> Result<bool> {
        let stamp = fs::read(self.cache.build(variant).join(STAMP)).ok();
        let stamp = stamp.and_then(|bytes| serde_json::from_slice::<Stamp>(&bytes).ok());
        match stamp {
            Some(stamp) if stamp.hash == hash => {
                Tree(&self.cache.linux()).is_checked_out(&stamp.commit)
            }
            _ => Ok(false),
        }
    }

    fn build(
        &self,
        variant: Variant,
        hash: &str,
        commit: String,
        lock: &Lock,
        reporter: &Reporter,
    ) -> Result<()> {
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
            let dir = unfinished(&self.cache.out(), variant.name(), lock)?;
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

    /// Source, series and an `O=` directory, and nothing yet built in it, with
    /// the locks of both and the commit that is checked out.
    pub(crate) fn prepare(&self, variant: Variant, reporter: &Reporter) -> Result<(Lock, String)> {
        self.toolchain.check_headers()?;
        let (source, commit) = self.patched_source(reporter)?;
        let lock = self.cache.use_build(source, variant, reporter)?;
        let build = self.cache.build(variant);
        create_dir(&build)?;
        variant.require_space(&build)?;
        Ok((lock, commit))
    }

    /// The source tree with the series applied, to be used as it is, and the
    /// commit that is checked out.
    pub(crate) fn patched_source(&self, reporter: &Reporter) -> Result<(Lock, String)> {
        let (sources, series) = (&self.definition.sources, &self.definition.series);
        let linux = self.cache.linux();
        let tree = Tree(&linux);
        let (mut lock, version) = source::share(sources, &self.cache, reporter)?;
        let mut commit = tree.commit(BASE, series, &version)?;
        while !tree.is_checked_out(&commit)? {
            // Two who wait to change what both of them use would wait forever.
            drop(lock);
            let alone = self.cache.change_source(reporter)?;
            let version = source::ensure(sources, &self.cache, &alone, reporter)?;
            // That may have been another tree, of another tarball.
            if tree.resolve(&commit).is_err() {
                commit = tree.commit(BASE, series, &version)?;
            }
            tree.check_out(&commit, &alone)?;
            lock = alone.into_shared()?;
        }
        Ok((lock, commit))
    }

    pub(crate) fn make<'a>(&'a self, build: &'a Path) -> Make<'a> {
        Make {
            toolchain: &self.toolchain,
            linux: self.cache.linux(),
            build,
        }
    }
}
