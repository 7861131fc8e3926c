//! The cluster that tests share, and the watch over its consoles.
//!
//! Tests run one process each, so the cluster outlives them: the first to need
//! it brings it up, and the test command takes it down when all have run. A
//! test that fails takes it down at once, so that no other test starts from
//! what it left; the next brings up a new one, also after one that was killed.

use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::ValueEnum;
use rapidswap_kernel::Variant;
use rapidswap_progress::Reporter;
use rapidswap_vm::{
    AccelChoice, Cluster, Node, NodeState, Occasion, Profile, UpOptions, keep_failure,
};

use crate::guest::Guest;
use crate::knobs::Knobs;
use crate::turn::Turn;
use crate::verdict::{Seen, Verdict};
use crate::watch::watch;

/// Says that the cluster of a test that fails is to stay.
const KEEP: &str = "RAPIDSWAP_KEEP";

/// The profile of the tests' nodes, unless another is asked for.
const USUAL: &str = "rxe";

/// How long a test may take: less than the test runner gives it, so that
/// there is time to say what it hangs on.
const LIMIT: Duration = Duration::from_secs(9 * 60);

/// A cluster of two nodes whose RDMA link is up, swap being off.
pub struct Scene {
    /// The cluster.
    pub cluster: Cluster,
    /// The node that swaps.
    pub client: Guest,
    /// The node that has the memory.
    pub server: Guest,
    /// Where on the link its memory server listens, as the profile has it.
    pub listen: SocketAddrV4,
}

impl Scene {
    /// Wraps a running cluster.
    pub fn of(cluster: Cluster) -> Result<Scene> {
        let Profile { link, node, .. } = cluster.status()?.profile;
        Ok(Scene {
            listen: SocketAddrV4::new(node.server.address.ip, link.port.get()),
            client: Guest::new(cluster.node("client")?),
            server: Guest::new(cluster.node("server")?),
            cluster,
        })
    }

    /// The nodes that are not gone.
    pub fn present(&self) -> Result<Vec<Node>> {
        let status = self.cluster.status()?;
        let present = status
            .nodes
            .iter()
            .filter(|node| !matches!(node.state, NodeState::Gone(_)));
        present
            .map(|node| Ok(self.cluster.node(&node.name)?))
            .collect()
    }
}

/// Which kernel the tests run on: `$RAPIDSWAP_KERNEL`, `release` by default.
pub fn kernel_variant() -> Result<Variant> {
    Ok(asked_kernel()?.unwrap_or_default())
}

/// The one that is asked for; if none is, hosts run that of their profile.
fn asked_kernel() -> Result<Option<Variant>> {
    match std::env::var("RAPIDSWAP_KERNEL").as_deref() {
        Err(_) | Ok("") => Ok(None),
        Ok("release") => Ok(Some(Variant::Release)),
        Ok("debug") => Ok(Some(Variant::Debug)),
        Ok(other) => Err(anyhow!(
            "RAPIDSWAP_KERNEL is `{other}`: use `release` or `debug`"
        )),
    }
}

/// What tests ask to run the guests: `$RAPIDSWAP_ACCEL`, as `up` takes it.
pub fn accel() -> Result<AccelChoice> {
    match std::env::var("RAPIDSWAP_ACCEL").as_deref() {
        Err(_) | Ok("") => Ok(AccelChoice::Auto),
        Ok(name) => AccelChoice::from_str(name, false)
            .map_err(|_| anyhow!("RAPIDSWAP_ACCEL is `{name}`: use `auto`, `kvm` or `tcg`")),
    }
}

/// A time limit that is right on the release kernel by [`USUAL`], longer where
/// the kernel checks everything it does or the profile's times are longer.
pub fn scaled(limit: Duration) -> Result<Duration> {
    Ok(limit * kernel_variant()?.patience() * longer(&profile())?)
}

/// How many times as long as by [`USUAL`] something may take by a profile.
/// Limits do not become shorter than they are: that something hangs need not be
/// known sooner.
fn longer(profile: &str) -> Result<u32> {
    let scale = |name| Ok::<_, anyhow::Error>(Profile::load(name)?.time_scale.get());
    Ok(scale(profile)?.div_ceil(scale(USUAL)?))
}

/// What the tests' nodes are: `$RAPIDSWAP_PROFILE`, [`USUAL`] by default.
fn profile() -> String {
    let set = std::env::var("RAPIDSWAP_PROFILE").ok();
    set.filter(|name| !name.is_empty())
        .unwrap_or_else(|| USUAL.to_owned())
}

/// Whether a test of that program may bring up a cluster: not if it is among
/// those that share one, since the test runner has to know.
fn may_bring_up(program: &str, test: &str) -> bool {
    !program.starts_with("cluster-") || test.starts_with("own::")
}

/// How a cluster of a test's own is brought up: swap is the test's affair. One
/// that an earlier test has left behind goes.
pub fn options(name: &str) -> Result<UpOptions> {
    let program = std::env::current_exe()?;
    let program = program.file_name().unwrap_or_default().to_string_lossy();
    let test = this_test();
    ensure!(
        may_bring_up(&program, &test),
        "{test} brings up a cluster of its own: it belongs to tests/tests/cluster/own"
    );
    vacate(name)?;
    up_options(name)
}

/// Takes down what a test that was killed or failed has left by a name that is
/// a test's own.
pub fn vacate(name: &str) -> Result<()> {
    match Cluster::attach(name) {
        Ok(left) => end(left, false, &Reporter::auto()),
        Err(_) => Ok(()),
    }
}

fn up_options(name: &str) -> Result<UpOptions> {
    Ok(UpOptions {
        name: name.to_owned(),
        swap: false,
        kernel: asked_kernel()?.map(Into::into),
        profile: profile(),
        accel: accel()?,
        ..UpOptions::default()
    })
}

/// The cluster that a test shares. Those that do things to nodes from outside
/// wait for long, beside the others: on a debug kernel nothing is beside anything.
fn shared(variant: Variant, test: &str) -> &'static str {
    match variant {
        Variant::Debug => "test-debug",
        // These run one at a time, so none waits for a turn of the others.
        _ if test.starts_with("vms::") || test.starts_with("own::") => "test-vms",
        Variant::Release | Variant::Host => "test-main",
    }
}

/// Runs a test on the shared cluster, with the knobs that the environment asks
/// for. It fails if the test does, and also if a kernel fault appears on either
/// console meanwhile.
pub fn on_cluster(test: impl FnOnce(&Scene) -> Result<()>) -> Result<()> {
    let knobs = Knobs::of_environment()?;
    let test_name = this_test();
    let name = shared(kernel_variant()?, &test_name);
    let _turn = its_turn(name, &test_name)?;
    let cluster = match Cluster::attach(name) {
        Ok(cluster) => cluster,
        Err(_) => match Cluster::up(&up_options(name)?, &Reporter::auto()) {
            Ok(cluster) => cluster,
            Err(error) => {
                let verdict = Verdict::of(&test_name, Seen::error(error.into()));
                return Err(anyhow!("{verdict}").context(format!("bring up cluster {name}")));
            }
        },
    };
    guarded(cluster, |scene| {
        let _set = knobs.set(&scene.client)?;
        test(scene)
    })
}

/// A test's turn on a shared cluster. What a test that was killed has left set
/// goes with the cluster.
fn its_turn(name: &str, test: &str) -> Result<Turn> {
    let turns = format!("rapidswap-{name}-{}.lock", nix::unistd::getuid());
    let turn = Turn::take(&std::env::temp_dir().join(turns), test)?;
    let left = turn.cut_short.as_ref();
    let left = left.and_then(|test| Some((test, Cluster::attach(name).ok()?)));
    if let Some((test, cluster)) = left {
        let reporter = Reporter::auto();
        reporter.note(&format!("{test} was cut short: its cluster goes"));
        end(cluster, false, &reporter)?;
    }
    Ok(turn)
}

/// Runs a test on a cluster and watches its consoles. After a failure what can
/// be had of the cluster is kept, and it is taken down.
pub fn guarded(cluster: Cluster, test: impl FnOnce(&Scene) -> Result<()>) -> Result<()> {
    guarded_within(cluster, LIMIT, test)
}

/// The same with another time limit.
pub fn guarded_within(
    cluster: Cluster,
    limit: Duration,
    test: impl FnOnce(&Scene) -> Result<()>,
) -> Result<()> {
    let scene = Scene::of(cluster)?;
    let name = this_test();
    let mut verdict = match unfit(&scene) {
        Ok(None) => watch(&scene, &name, limit, test),
        Ok(Some(seen)) => Verdict::of(&name, seen),
        Err(error) => Verdict::of(&name, Seen::error(error)),
    };
    if verdict.is_good() {
        return Ok(());
    }
    if verdict.collected.is_none() {
        verdict.collected = keep_failure(&scene.cluster, &name, &Reporter::auto());
    }
    let failure = anyhow!("{verdict}");
    let keep = std::env::var_os(KEEP).is_some_and(|keep| !keep.is_empty());
    match end(scene.cluster, keep, &Reporter::auto()) {
        Ok(()) => Err(failure),
        Err(error) => Err(failure.context(format!("{error:#}"))),
    }
}

/// Takes a cluster down, or says how to look at it.
pub fn end(cluster: Cluster, keep: bool, reporter: &Reporter) -> Result<()> {
    if keep {
        reporter.note(&cluster.kept());
        return Ok(());
    }
    cluster.down().context("take the cluster down")
}

/// Why no test may begin on a cluster: a node is gone, or a fault came when no
/// test ran, after the last one or before the first.
fn unfit(scene: &Scene) -> Result<Option<Seen>> {
    let faults = scene.cluster.faults().context("look at the consoles")?;
    let between = faults.into_iter();
    let between = between.filter(|splat| !matches!(splat.occasion, Occasion::During(_)));
    let nodes = scene.cluster.status()?.nodes.into_iter();
    let gone = nodes.filter_map(|node| match node.state {
        NodeState::Gone(gone) => Some((node.name, gone)),
        _ => None,
    });
    let seen = Seen {
        faults: between.collect(),
        gone: gone.collect(),
        ..Seen::error(anyhow!("the test was not begun on such a cluster"))
    };
    let fit = seen.faults.is_empty() && seen.gone.is_empty();
    Ok((!fit).then_some(seen))
}

/// The name of the test that this thread runs: the test program names its
/// threads so.
fn this_test() -> String {
    let thread = std::thread::current();
    match thread.name() {
        Some(name) if name != "main" => name.to_owned(),
        // With one test only, it may run on the main thread.
        _ => std::env::args()
            .skip(1)
            .find(|argument| !argument.starts_with('-'))
            .unwrap_or_else(|| "a test".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rapidswap::root;

    #[test]
    fn limits_follow_the_profile_and_none_is_shorter() {
        let dir = tempfile::tempdir().expect("directory");
        let slow = dir.path().join("slow.toml");
        let text = std::fs::read_to_string(root().join("profiles/rxe.toml")).expect("shipped");
        std::fs::write(&slow, text.replace("time_scale = 4", "time_scale = 10")).expect("file");
        let longer = |name: &str| longer(name).expect(name);
        assert_eq!((longer("rxe"), longer("mlx5")), (1, 1));
        assert_eq!(longer(slow.to_str().expect("text")), 3);
    }

    #[test]
    fn those_that_pause_nodes_have_theirs_beside_the_others() {
        let release = |test| shared(Variant::Release, test);
        assert_eq!(release("vms::pauses::a_test"), "test-vms");
        assert_eq!(release("loads::a_test"), "test-main");
        let debug = shared(Variant::Debug, "vms::pauses::a_test");
        assert_eq!(debug, "test-debug");
    }

    #[test]
    fn of_those_that_share_a_cluster_none_brings_one_up() {
        assert!(!may_bring_up("cluster-1f2e", "loads::a_test"));
        assert!(may_bring_up("cluster-1f2e", "own::ends::a_test"));
        assert!(may_bring_up("hosts-1f2e", "a_test"));
    }
}
