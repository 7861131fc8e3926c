//! The cluster that tests share, and the watch over its consoles.
//!
//! Tests run one process each, so the cluster outlives them: the first to need
//! it brings it up, and the test command takes it down when all have run. A
//! test that fails takes it down at once, so that no other test starts from
//! what it left; the next brings up a new one.

use std::fs::{File, OpenOptions};
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow};
use nix::fcntl::{Flock, FlockArg};
use rapidswap_progress::Reporter;
use rapidswap_vm::{Cluster, KernelVariant, UpOptions};

use crate::guest::Guest;

/// Lines of each kernel's log shown with a failure.
const TAIL: usize = 40;

/// How long a node may take to show its log.
const ANSWER: Duration = Duration::from_secs(5);

/// A cluster of two nodes whose RDMA link is up, swap being off.
pub struct Scene {
    /// The cluster.
    pub cluster: Cluster,
    /// The node that swaps.
    pub client: Guest,
    /// The node that has the memory.
    pub server: Guest,
}

impl Scene {
    /// Wraps a running cluster.
    pub fn of(cluster: Cluster) -> Result<Scene> {
        Ok(Scene {
            client: Guest::new(cluster.node("client")?),
            server: Guest::new(cluster.node("server")?),
            cluster,
        })
    }

    /// Every kernel fault on any console so far, a line each.
    pub fn splats(&self) -> Result<Vec<String>> {
        let splats = self.cluster.splats().context("read the consoles")?;
        Ok(splats
            .iter()
            .map(|splat| format!("{}, line {}: {}", splat.node, splat.line, splat.text))
            .collect())
    }

    /// The last that each kernel said, in full where the node still answers,
    /// and else what of it went to the console.
    fn last_words(&self) -> String {
        let of = |guest: &Guest, name| {
            let log = guest.start(&["dmesg"]);
            let log = log.and_then(|dmesg| dmesg.finish(ANSWER));
            let text = match log {
                Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
                Err(error) => guest.node.console().unwrap_or_else(|_| error.to_string()),
            };
            let lines: Vec<&str> = text.lines().collect();
            let last = &lines[lines.len().saturating_sub(TAIL)..];
            format!("--- kernel of {name}\n{}\n", last.join("\n"))
        };
        of(&self.client, "client") + &of(&self.server, "server")
    }
}

/// Which kernel the tests run on: `$RAPIDSWAP_KERNEL`, `release` by default.
pub fn kernel_variant() -> Result<KernelVariant> {
    match std::env::var("RAPIDSWAP_KERNEL").as_deref() {
        Err(_) | Ok("" | "release") => Ok(KernelVariant::Release),
        Ok("debug") => Ok(KernelVariant::Debug),
        Ok(other) => Err(anyhow!(
            "RAPIDSWAP_KERNEL is `{other}`: use `release` or `debug`"
        )),
    }
}

/// A time limit, longer where the kernel checks everything it does.
pub fn scaled(limit: Duration) -> Result<Duration> {
    Ok(match kernel_variant()? {
        KernelVariant::Release => limit,
        KernelVariant::Debug => limit * 6,
    })
}

/// How a cluster for tests is brought up: swap is each test's own affair.
pub fn options(name: &str) -> Result<UpOptions> {
    Ok(UpOptions {
        name: name.to_owned(),
        swap: false,
        kernel: kernel_variant()?,
        ..UpOptions::default()
    })
}

/// Runs a test on the shared cluster. It fails if the test does, and also if a
/// kernel fault appears on either console meanwhile.
pub fn on_cluster(test: impl FnOnce(&Scene) -> Result<()>) -> Result<()> {
    let name = match kernel_variant()? {
        KernelVariant::Release => "test-main",
        KernelVariant::Debug => "test-debug",
    };
    let _alone = lock(name)?;
    let cluster = match Cluster::attach(name) {
        Ok(cluster) => cluster,
        Err(_) => Cluster::up(&options(name)?, &Reporter::auto())
            .with_context(|| format!("bring up cluster {name}"))?,
    };
    guarded(cluster, test)
}

/// Runs a test on a cluster and watches its consoles. After a failure the
/// cluster is taken down.
pub fn guarded(cluster: Cluster, test: impl FnOnce(&Scene) -> Result<()>) -> Result<()> {
    let scene = Scene::of(cluster)?;
    let before = scene.splats()?.len();
    let outcome = test(&scene);
    let splats = scene.splats().map(|mut splats| splats.split_off(before));
    let failure = match (outcome, splats) {
        (Ok(()), Ok(splats)) if splats.is_empty() => return Ok(()),
        (Ok(()), Ok(splats)) => anyhow!("kernel faults: {}", splats.join("; ")),
        (Err(error), Ok(splats)) if splats.is_empty() => error,
        (Err(error), Ok(splats)) => error.context(format!("kernel faults: {}", splats.join("; "))),
        // A scan that could not be made is not a clean one.
        (_, Err(error)) => error,
    };
    let failure = with_last_words(failure, &scene);
    match scene.cluster.down() {
        Ok(()) => Err(failure),
        Err(error) => Err(failure.context(format!("and it could not be taken down: {error}"))),
    }
}

fn with_last_words(error: Error, scene: &Scene) -> Error {
    // Printed rather than chained: an error is one line, a log is many.
    eprint!("{}", scene.last_words());
    error
}

/// Waits until no other test uses the cluster.
fn lock(name: &str) -> Result<Flock<File>> {
    let path =
        std::env::temp_dir().join(format!("rapidswap-{name}-{}.lock", nix::unistd::getuid()));
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .with_context(|| format!("lock {}", path.display()))
}
