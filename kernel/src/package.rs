//! A finished kernel in the form in which a host takes it.

use rapidswap_cache::finish;
use rapidswap_progress::Reporter;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Variant;
use crate::builder::Builder;
use crate::cache::unfinished;
use crate::error::{Error, Result};
use crate::make::Job;

impl Builder {
    /// A compressed tar file with a kernel, its modules and its configuration,
    /// as they belong below `/`; made now if the cache does not have it.
    pub(crate) fn package(&self, variant: Variant, reporter: &Reporter) -> Result<PathBuf> {
        let kernel = self.ensure(variant, Instant::now(), reporter)?;
        let place = self.cache.packages().join(&kernel.hash);
        if place.exists() {
            return archive(&place);
        }
        let source = self.cache.use_source(reporter)?;
        let lock = self.cache.use_build(source, variant, reporter)?;
        if place.exists() {
            return archive(&place);
        }
        let lock = self.ensure_build_dir(variant, &kernel.hash, lock, reporter)?;
        let make = self.make(&kernel.build);
        // One of an earlier kernel would be taken for this one's.
        for stale in archives(&kernel.build)? {
            fs::remove_file(&stale).map_err(Error::file("remove", &stale))?;
        }
        let command = make.parallel().args(["INSTALL_MOD_STRIP=1", "targz-pkg"]);
        Job {
            what: "kernel package",
            command,
            dir: &kernel.build,
            log: kernel.build.with_extension("package.log"),
            expect: Duration::from_secs(90),
            steps: None,
        }
        .run(&lock, reporter)?;
        let made = archive(&kernel.build)?;
        let dir = unfinished(&self.cache.packages(), variant.name(), &lock)?;
        let copy = dir.path().join(made.file_name().unwrap_or_default());
        fs::rename(&made, &copy).map_err(Error::file("move", &made))?;
        finish(dir, &place)?;
        archive(&place)
    }
}

/// The compressed tar files of kernels in a directory.
fn archives(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::file("read", dir))? {
        let path = entry.map_err(Error::file("read", dir))?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if name.starts_with("linux-") && name.ends_with(".tar.gz") {
            found.push(path);
        }
    }
    Ok(found)
}

/// The one in a directory that has one.
fn archive(dir: &Path) -> Result<PathBuf> {
    archives(dir)?
        .pop()
        .ok_or_else(|| Error::NoSource(format!("make left no package in {}", dir.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;

    #[test]
    fn a_package_is_that_of_its_kernel() {
        let mut bench = Bench::new();
        let package = |bench: &Bench| {
            let made = bench.builder.package(Variant::Release, &Reporter::silent());
            made.expect("packed")
        };
        let first = package(&bench);
        let name = first.file_name().expect("a name");
        assert_eq!(name, "linux-6.12.3-rapidswap-x86.tar.gz");
        assert_eq!(fs::read_to_string(&first).expect("read"), "packed first\n");
        let made = fs::metadata(&first)
            .expect("there")
            .modified()
            .expect("a time");
        assert_eq!(package(&bench), first);
        let again = fs::metadata(&first)
            .expect("there")
            .modified()
            .expect("a time");
        assert_eq!(again, made, "it was made again");
        bench.write("patches/0001-one.patch", &crate::bench::patch_to("second"));
        bench.reload();
        let second = package(&bench);
        assert_eq!(
            fs::read_to_string(&second).expect("read"),
            "packed second\n"
        );
    }
}
