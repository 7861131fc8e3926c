//! Faults from outside: in the nodes, some of which do not come back.

use std::io::{BufReader, Read};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rapidswap_progress::Reporter;
use rapidswap_tests::arrangement::Arrangement;
use rapidswap_tests::limit::Limit;
use rapidswap_tests::rapidswap;
use rapidswap_tests::remote_module::wait_for_state;
use rapidswap_tests::reports::{PAGE_PATTERN, all_right};
use rapidswap_tests::scene::{Scene, guarded, options, scaled};
use rapidswap_tests::swap_area::Backing;
use rapidswap_tests::wait::{TimedOut, wait_until};
use rapidswap_vm::{Cluster, Fault, NodeState, Outcome, UpOptions};

use crate::vms::pauses::right_or_lost;

/// From a fault until a guest has noticed.
const NOTICED: Duration = Duration::from_secs(10);

/// What `status` says of a node.
fn state(cluster: &Cluster, node: &str) -> Result<NodeState> {
    let nodes = cluster.status()?.nodes;
    let node = nodes.into_iter().find(|status| status.name == node);
    Ok(node.context("a known node")?.state)
}

fn on_its_own(name: &str, swap: bool, test: impl FnOnce(&Scene) -> Result<()>) -> Result<()> {
    let wanted = UpOptions {
        swap,
        ..options(name)?
    };
    let cluster = Cluster::up(&wanted, &Reporter::auto())?;
    guarded(cluster, test)?;
    Cluster::attach(name)?.down()?;
    Ok(())
}

#[test]
fn a_server_is_reset_while_it_has_pages() -> Result<()> {
    on_its_own("test-fault", true, |scene| {
        let limit = Limit::new(&scene.client, 8)?;
        let mut program = limit.start(&[PAGE_PATTERN, "verify", "--mib", "24", "--hold"])?;
        program.line()?;
        let boot = scene.server.read("/proc/sys/kernel/random/boot_id")?;
        let waiting = scene.server.start(&["sleep", "1000"])?;
        scene.cluster.fault(&Fault::Reset("server".into()))?;
        // It has no status, and that is known before its time is over.
        let ended = waiting.finish(NOTICED);
        ensure!(
            matches!(&ended, Err(error) if !error.is::<TimedOut>()),
            "a command survived the reset: {ended:?}"
        );
        ensure!(state(&scene.cluster, "server")? == NodeState::Up);
        ensure!(scene.server.read("/proc/sys/kernel/random/boot_id")? != boot);
        wait_for_state(&scene.client, "up", scaled(Duration::from_secs(90))?)?;
        program.say("check")?;
        let output = program.finish(scaled(Duration::from_secs(120))?)?;
        let whole = right_or_lost(&output, 24, 1)?;
        ensure!(!whole, "pages outlived the memory that they were in");
        let before = scene.client.vmstat()?;
        let limit = Limit::new(&scene.client, 8)?;
        all_right(&limit.run(&[PAGE_PATTERN, "verify", "--mib", "16"])?, 16, 1)?;
        let moved = scene.client.vmstat()?.since(&before).context("counters")?;
        ensure!(moved.stored > 0, "nothing went to the new server: {moved}");
        Ok(())
    })
}

#[test]
fn a_client_is_reset_and_good_for_all_again() -> Result<()> {
    on_its_own("test-fault", false, |scene| {
        // Twice at once is twice.
        let reset = || scene.cluster.fault(&Fault::Reset("client".into()));
        thread::scope(|scope| {
            let both = [(); 2].map(|()| scope.spawn(reset));
            let mut ended = both.into_iter().map(|one| one.join());
            ended.try_for_each(|one| one.expect("no panic"))
        })?;
        // All that a booted node is good for, it is good for again.
        let swap = Arrangement::remote(scene, 64, Backing::Disk)?;
        let limit = Limit::new(swap.client, 8)?;
        all_right(&limit.run(&[PAGE_PATTERN, "verify", "--mib", "16"])?, 16, 1)?;
        ensure!(swap.moved()?.stored > 0);
        drop(limit);
        swap.end()
    })
}

fn kill_the_server(scene: &Scene) -> Result<()> {
    let fault = |what: &str| rapidswap::run(&["--name", "test-fault", "fault", what, "server"]);
    let mut waiting = rapidswap::command(&["--name", "test-fault", "exec", "server", "--"])
        .args(["sleep", "1000"])
        .spawn()?;
    wait_until("the command to run", NOTICED, || {
        let found = scene.server.run(&["pidof", "sleep"])?;
        Ok(found.status.success().then_some(()))
    })?;
    let mut logs = rapidswap::command(&["--name", "test-fault", "logs", "-f", "server"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let start = Instant::now();
    let killed = fault("kill")?;
    ensure!(killed.status.success(), "{killed:?}");
    let code = waiting.wait()?.code();
    eprintln!("seen after {:?}", start.elapsed());
    let gone = Outcome::InfrastructureFailed.code();
    ensure!(code == Some(gone.into()) && start.elapsed() < NOTICED);
    let followed = wait_until("logs -f to end", NOTICED, || Ok(logs.try_wait()?));
    logs.kill()?;
    let (followed, mut said) = (followed?, String::new());
    let stderr = logs.stderr.take().context("piped")?;
    BufReader::new(stderr).read_to_string(&mut said)?;
    ensure!(followed.code() == code, "{followed}");
    ensure!(
        said.lines().count() == 1 && said.contains("killed on request"),
        "{said}"
    );
    let NodeState::Gone(gone) = state(&scene.cluster, "server")? else {
        anyhow::bail!("the server is still there");
    };
    ensure!(gone.reason.contains("killed on request"), "{gone:?}");
    let again = fault("reset")?;
    let said = String::from_utf8_lossy(&again.stderr);
    ensure!(
        !again.status.success() && said.contains("killed on request"),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_server_is_killed_and_does_not_come_back() -> Result<()> {
    // Not guarded: that a node is gone is what is asked for.
    let cluster = Cluster::up(&options("test-fault")?, &Reporter::auto())?;
    let scene = Scene::of(cluster)?;
    let outcome = kill_the_server(&scene);
    scene.cluster.down()?;
    outcome
}
