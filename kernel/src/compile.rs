//! From a configured `O=` directory to a kernel that a cluster can take.

use rapidswap_progress::Reporter;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cache::{create_dir, require_space};
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::make::{Job, Make};
use crate::{Kernel, Variant};

impl Make<'_> {
    /// Builds the kernel and its modules, as far as they are not up to date.
    pub(crate) fn compile(
        &self,
        variant: Variant,
        log: PathBuf,
        lock: &Lock,
        reporter: &Reporter,
    ) -> Result<()> {
        // One that goes on after an interruption says nothing of the whole.
        let whole = !self.build.join("init").exists();
        let (what, expect) = variant.expectation(whole);
        let job = Job {
            what,
            command: self.parallel().args(["vmlinux", "modules"]),
            dir: self.build,
            steps: whole.then(|| log.with_extension("steps")),
            log,
            expect,
        };
        job.run(lock, reporter)
    }

    /// Copies what a cluster needs out of the `O=` directory.
    pub(crate) fn collect(&self, into: &Path) -> Result<()> {
        let copy = |from: &Path, to: PathBuf| {
            fs::copy(from, &to)
                .map(drop)
                .map_err(Error::file("copy", from))
        };
        copy(&self.build.join("vmlinux"), into.join("vmlinux"))?;
        copy(&self.build.join(".config"), into.join("config"))?;
        let modules = into.join("modules");
        create_dir(&modules)?;
        let order = self.build.join("modules.order");
        let order = fs::read_to_string(&order).map_err(Error::file("read", &order))?;
        for object in order.lines() {
            let module = self.build.join(object).with_extension("ko");
            let name = module.file_name().unwrap_or_default();
            copy(&module, modules.join(name))?;
        }
        let release = self.build.join("include/config/kernel.release");
        copy(&release, into.join("release"))
    }
}

impl Kernel {
    /// What [`Make::collect`] put there, if that came to its end. Where it is
    /// from is for the caller to say.
    pub(crate) fn collected(from: &Path, started: Instant) -> Option<Kernel> {
        let release = fs::read_to_string(from.join("release")).ok()?;
        Some(Kernel {
            vmlinux: from.join("vmlinux"),
            modules: from.join("modules"),
            config: from.join("config"),
            release: release.trim().to_owned(),
            build: PathBuf::new(),
            tree: None,
            hash: String::new(),
            cached: false,
            seconds: started.elapsed().as_secs_f64(),
        })
    }
}

impl Variant {
    /// Name and likely time of a build, from scratch or of what changed.
    fn expectation(self, whole: bool) -> (&'static str, Duration) {
        let (what, minutes) = match (self, whole) {
            (Variant::Release, true) => ("kernel build", 20),
            (Variant::Release, false) => ("kernel build of what changed", 3),
            (Variant::Debug, true) => ("debug kernel build", 25),
            (Variant::Debug, false) => ("debug kernel build of what changed", 4),
            (Variant::Host, true) => ("host kernel build", 35),
            (Variant::Host, false) => ("host kernel build of what changed", 4),
        };
        (what, Duration::from_secs(minutes * 60))
    }

    /// Refuses to build from scratch where the `O=` directory, with the
    /// finished kernel, would not fit.
    pub(crate) fn require_space(self, build: &Path) -> Result<()> {
        if build.join("vmlinux").exists() {
            return Ok(());
        }
        let needs = match self {
            Variant::Release => 1 << 30,
            Variant::Debug | Variant::Host => 2 << 30,
        };
        require_space(build, needs)
    }
}
