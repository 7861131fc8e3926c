//! The pristine source tree: found or downloaded, verified, unpacked into a
//! git repository.

use rapidswap_cache::finish;
use rapidswap_progress::Reporter;
use serde::{Deserialize, Serialize};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Variant;
use crate::cache::{Cache, create_dir, require_space, unfinished};
use crate::definition::{KernelOrg, Origin, Sources};
use crate::digest::sha256_of;
use crate::error::{Error, Result};
use crate::git::{BASE, git_command};
use crate::guarded::Guarded;
use crate::lock::Lock;

/// What a tree needs on disk: files, and git's uncompressed copy of them.
const TREE_BYTES: u64 = 7 << 29;
const TARBALL_BYTES: u64 = 1 << 28;

/// Name, inside `.git`, of the file that says which tarball a tree is from.
const ORIGIN_STAMP: &str = "rapidswap-tarball";

/// A tarball on this disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tarball {
    pub(crate) path: PathBuf,
    /// SHA-256 of it: the identity of the source in every hash.
    pub(crate) sha256: String,
}

/// SHA-256 of the tarball that would be taken; nothing is fetched for it.
pub(crate) fn identity(sources: &Sources, cache: &Cache) -> Result<String> {
    match choose(sources)? {
        Choice::Debian(path) => Ok(remembered(path, cache)?.sha256),
        Choice::KernelOrg(release) => Ok(release.sha256.clone()),
    }
}

enum Choice<'a> {
    Debian(&'a Path),
    KernelOrg(&'a KernelOrg),
}

fn choose(sources: &Sources) -> Result<Choice<'_>> {
    let (debian, kernel_org) = (&sources.debian, &sources.kernel_org);
    match sources.origin {
        Origin::KernelOrg => Ok(Choice::KernelOrg(kernel_org)),
        _ if debian.tarball.exists() => Ok(Choice::Debian(&debian.tarball)),
        Origin::Auto => Ok(Choice::KernelOrg(kernel_org)),
        Origin::Debian => Err(Error::NoSource(format!(
            "{} is not there; install the package {} or set origin in source.toml",
            debian.tarball.display(),
            debian.package
        ))),
    }
}

/// A file's hash together with what tells that the file is still the same:
/// hashing 150 MB on each call would be noticed.
#[derive(Serialize, Deserialize, PartialEq)]
struct Remembered {
    path: PathBuf,
    size: u64,
    modified: (i64, i64),
    inode: u64,
    sha256: String,
}

impl Remembered {
    fn fits(&self, path: &Path, metadata: &Metadata) -> bool {
        self.path == path
            && self.size == metadata.len()
            && self.modified == (metadata.mtime(), metadata.mtime_nsec())
            && self.inode == metadata.ino()
    }
}

fn remembered(path: &Path, cache: &Cache) -> Result<Tarball> {
    let metadata = fs::metadata(path).map_err(Error::file("examine", path))?;
    let memory = cache.kernel().join("tarball.json");
    let known = fs::read(&memory).ok();
    let known = known.and_then(|bytes| serde_json::from_slice::<Remembered>(&bytes).ok());
    let sha256 = match known {
        Some(known) if known.fits(path, &metadata) => known.sha256,
        _ => {
            let sha256 = sha256_of(path)?;
            remember(&memory, path, &metadata, &sha256)?;
            sha256
        }
    };
    Ok(Tarball {
        path: path.to_owned(),
        sha256,
    })
}

fn remember(memory: &Path, path: &Path, metadata: &Metadata, sha256: &str) -> Result<()> {
    let note = Remembered {
        path: path.to_owned(),
        size: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        inode: metadata.ino(),
        sha256: sha256.to_owned(),
    };
    let folder = memory.parent().unwrap_or(memory);
    create_dir(folder)?;
    let file = tempfile::NamedTempFile::new_in(folder).map_err(Error::file("write in", folder))?;
    serde_json::to_writer(&file, &note)
        .map_err(|error| Error::file("write", memory)(error.into()))?;
    file.persist(memory)
        .map_err(|error| Error::file("write", memory)(error.error))?;
    Ok(())
}

/// The version of the pristine tree, if it is there and is that of the
/// tarball that would be taken.
fn present(sources: &Sources, cache: &Cache) -> Result<Option<String>> {
    let linux = cache.linux();
    let stamp = fs::read_to_string(linux.join(".git").join(ORIGIN_STAMP)).unwrap_or_default();
    if stamp.trim() == identity(sources, cache)? {
        return version(&linux).map(Some);
    }
    Ok(None)
}

/// Makes sure that the pristine tree is there and is that of the chosen
/// tarball; returns its version. What was built from another one is removed
/// with it. The lock is on the source alone.
pub(crate) fn ensure(
    sources: &Sources,
    cache: &Cache,
    lock: &Lock,
    reporter: &Reporter,
) -> Result<String> {
    if let Some(version) = present(sources, cache)? {
        return Ok(version);
    }
    let tarball = match choose(sources)? {
        Choice::Debian(path) => remembered(path, cache)?,
        Choice::KernelOrg(release) => download(release, &cache.tarballs(), lock, reporter)?,
    };
    unpack(&tarball, sources, cache, lock, reporter)
}

/// The same, for who does not change it: together with all who do not.
pub(crate) fn share(
    sources: &Sources,
    cache: &Cache,
    reporter: &Reporter,
) -> Result<(Lock, String)> {
    let mut lock = cache.use_source(reporter)?;
    loop {
        if let Some(version) = present(sources, cache)? {
            return Ok((lock, version));
        }
        // Two who wait to change what both of them use would wait forever.
        drop(lock);
        let alone = cache.change_source(reporter)?;
        ensure(sources, cache, &alone, reporter)?;
        lock = alone.into_shared()?;
    }
}

fn unpack(
    tarball: &Tarball,
    sources: &Sources,
    cache: &Cache,
    lock: &Lock,
    reporter: &Reporter,
) -> Result<String> {
    require_space(&cache.kernel(), TREE_BYTES)?;
    let step = reporter.step("kernel source", Duration::from_secs(90));
    let dir = unfinished(&cache.kernel(), "source", lock)?;
    let tree = dir.path();
    // Fresh times: make must never take an object of an older tree for newer.
    Guarded::new("tar")
        .args(["--extract", "--touch", "--strip-components=1", "--file"])
        .arg(&tarball.path)
        .run("unpacking the kernel source", tree, lock)?;
    step.fraction(0.5);
    let version = version(tree)?;
    if !version.starts_with(&format!("{}.", sources.line)) {
        return Err(Error::WrongLine {
            path: tarball.path.clone(),
            found: version,
            line: sources.line.clone(),
        });
    }
    if ![&sources.debian.version, &sources.kernel_org.version].contains(&&version) {
        reporter.note(&format!(
            "Linux {version} is another release than the series was written for ({})",
            sources.debian.version
        ));
    }
    for args in [
        &["init", "--quiet"][..],
        // Compression would cost a minute and save a disk's worth of nothing.
        &["config", "core.compression", "0"],
        &["config", "gc.auto", "0"],
        &["add", "--all", "--force", "."],
        &["commit", "--quiet", "--message", BASE],
        &["tag", BASE],
    ] {
        git_command()
            .args(args)
            .run("committing the kernel source", tree, lock)?;
    }
    let stamp = tree.join(".git").join(ORIGIN_STAMP);
    fs::write(&stamp, &tarball.sha256).map_err(Error::file("write", &stamp))?;
    // Before the tree, so that a kill in between leaves no objects of another.
    for variant in Variant::ALL {
        let build = cache.build(variant);
        if build.exists() {
            fs::remove_dir_all(&build).map_err(Error::file("remove", &build))?;
        }
    }
    finish(dir, &cache.linux())?;
    step.done(&format!("Linux {version}"));
    Ok(version)
}

/// The version that a tree's top Makefile states.
pub(crate) fn version(tree: &Path) -> Result<String> {
    let path = tree.join("Makefile");
    let makefile = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    let field = |name: &str| {
        let mut lines = makefile.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='));
        value.map(str::trim).unwrap_or_default()
    };
    Ok(format!(
        "{}.{}.{}{}",
        field("VERSION"),
        field("PATCHLEVEL"),
        field("SUBLEVEL"),
        field("EXTRAVERSION")
    ))
}

/// Set, it forbids the use of a network.
const OFFLINE: &str = "RAPIDSWAP_OFFLINE";

fn download(
    release: &KernelOrg,
    folder: &Path,
    lock: &Lock,
    reporter: &Reporter,
) -> Result<Tarball> {
    let place = folder.join(format!("linux-{}.tar.xz", release.version));
    let done = Tarball {
        path: place.clone(),
        sha256: release.sha256.clone(),
    };
    if place.exists() {
        return Ok(done);
    }
    if std::env::var_os(OFFLINE).is_some_and(|set| !set.is_empty()) {
        return Err(Error::NoSource(format!(
            "{} is not there, and {OFFLINE} is set: run once without it, where there is a network",
            place.display()
        )));
    }
    create_dir(folder)?;
    require_space(folder, TARBALL_BYTES)?;
    let step = reporter.step("kernel download", Duration::from_secs(60));
    let half = place.with_extension("part");
    Guarded::new("curl")
        .args(["--fail", "--silent", "--show-error", "--location"])
        .args(["--retry", "3", "--connect-timeout", "20", "--output"])
        .arg(&half)
        .arg(&release.url)
        .run(&format!("downloading {}", release.url), folder, lock)
        .inspect_err(|_| drop(fs::remove_file(&half)))?;
    let found = sha256_of(&half)?;
    if found != release.sha256 {
        fs::remove_file(&half).map_err(Error::file("remove", &half))?;
        return Err(Error::Checksum {
            path: half,
            found,
            wanted: release.sha256.clone(),
        });
    }
    fs::rename(&half, &place).map_err(Error::file("rename", &half))?;
    step.done("done");
    Ok(done)
}
