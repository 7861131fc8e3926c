//! The guests' root file system: a declared list of Debian packages made into
//! one ext4 image, without root where the host allows that, and cached by
//! everything that goes into it.
//!
//! ```text
//! packages.txt -> mmdebstrap -> root.tar -> mke2fs -d -> root.ext4
//! ```
//!
//! The tar file in the middle carries owners and modes from mmdebstrap's user
//! namespace to an ordinary user's mke2fs, which sees them through fakeroot.

#![forbid(unsafe_code)]

mod apt;
mod bootstrap;
mod cache;
mod error;
mod ext4;
mod packages;
mod progress;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rapidswap_cache::{ELSEWHERE, require_space};
use rapidswap_progress::Reporter;

use bootstrap::Bootstrap;
pub use bootstrap::obstacle;
use cache::Cache;
pub use error::Error;

/// What this library returns.
pub type Result<T> = std::result::Result<T, Error>;

/// The release whose packages are in the image.
const SUITE: &str = "trixie";

/// Part of the image's key: raised whenever the same list would give another
/// image than before.
const BUILDER_VERSION: &str = "1";

/// A finished image of the guests' root file system.
#[derive(Debug, Clone)]
pub struct Image {
    /// The ext4 image. Shared by every cluster: never to be written to.
    pub root: PathBuf,
    /// Whether it was there already.
    pub cached: bool,
    /// How long it took to have it.
    pub seconds: f64,
}

/// Which machine an image is the root file system of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// A node of a cluster of virtual machines, whose process 1 is the agent.
    Guest,
    /// A virtual machine that poses as a host: it boots by itself and is
    /// reached by ssh alone.
    PosedHost,
}

impl Machine {
    /// The list of its packages.
    fn list(self) -> PathBuf {
        let name = match self {
            Machine::Guest => "packages.txt",
            Machine::PosedHost => "posed-host.txt",
        };
        Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
    }

    /// Directories that no package has.
    fn directories(self) -> &'static [&'static str] {
        match self {
            // Where the agent mounts the host's files.
            Machine::Guest => &["rapidswap"],
            Machine::PosedHost => &[],
        }
    }
}

/// Makes sure that the image of a machine exists in the cache.
pub fn ensure(machine: Machine, reporter: &Reporter) -> Result<Image> {
    let packages = packages::read(&machine.list())?;
    ensure_in(&Cache::open_default()?, machine, &packages, reporter)
}

/// Key under which the image of a machine is cached.
pub fn key(machine: Machine) -> Result<String> {
    Ok(key_of(&packages::read(&machine.list())?))
}

fn ensure_in(
    cache: &Cache,
    machine: Machine,
    packages: &[String],
    reporter: &Reporter,
) -> Result<Image> {
    let started = Instant::now();
    let image = |root, cached| Image {
        root,
        cached,
        seconds: started.elapsed().as_secs_f64(),
    };
    let root = cache.image(&key_of(packages));
    if root.exists() {
        return Ok(image(root, true));
    }
    if std::env::var_os("RAPIDSWAP_OFFLINE").is_some_and(|set| !set.is_empty()) {
        return Err(Error::Offline);
    }
    let _lock = cache.lock(reporter)?;
    // Whoever held the lock may have built it.
    if root.exists() {
        return Ok(image(root, true));
    }
    // What a killed build left takes none of the room.
    let build = cache.begin()?;
    let temporary = bootstrap::temporary_directory();
    require_space(&temporary, bootstrap::SPACE, bootstrap::ELSEWHERE)?;
    require_space(cache.directory(), ext4::SPACE, ELSEWHERE)?;

    let step = reporter.step("guest image", Duration::from_secs(60));
    let tar = build.path().join("root.tar");
    let mut progress = progress::Progress::default();
    Bootstrap {
        suite: SUITE,
        packages,
        sources: apt::sources(SUITE)?,
        settings: apt::settings()?,
        keyring: apt::keyring()?,
        temporary: &temporary,
    }
    .run(&tar, &cache.log(), |line| {
        if let Some(stage) = progress.line(line) {
            step.message(stage);
        }
        step.fraction(progress.fraction() * 0.95);
    })?;
    step.message("packing the file system");
    let owners = ext4::Owners::of_this_process();
    ext4::pack(&tar, build.path(), owners, machine.directories())?;
    cache.finish(build, &root)?;
    step.done("built");
    Ok(image(root, false))
}

fn key_of(packages: &[String]) -> String {
    let excluded: Vec<&str> = bootstrap::EXCLUDED.to_vec();
    cache::key(&[
        &[BUILDER_VERSION, SUITE, std::env::consts::ARCH],
        &excluded,
        &packages.iter().map(String::as_str).collect::<Vec<_>>(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_part_of_the_key() {
        let one = key_of(&["redis-server".into()]);
        let two = key_of(&["redis-server".into(), "time".into()]);
        assert_ne!(one, two);
        assert_eq!(one, key_of(&["redis-server".into()]));
    }

    #[test]
    fn the_declared_list_is_valid() {
        let packages = packages::read(&Machine::Guest.list()).expect("valid list");
        for wanted in [
            "rdma-core",
            "ibverbs-providers",
            "stress-ng",
            "redis-server",
        ] {
            assert!(packages.iter().any(|name| name == wanted), "{wanted}");
        }
    }

    #[test]
    fn a_posed_host_has_what_tests_use_in_a_guest() {
        let guest = packages::read(&Machine::Guest.list()).expect("valid list");
        let host = packages::read(&Machine::PosedHost.list()).expect("valid list");
        // Its own init system comes with the program that this one stands for.
        let stand_in = "systemd-standalone-sysusers";
        let missing = guest.iter().filter(|name| !host.contains(name));
        assert_eq!(missing.collect::<Vec<_>>(), [stand_in]);
    }
}
