//! Watches the nodes while a test runs.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow};
use rapidswap_kernel::Variant;
use rapidswap_progress::Reporter;
use rapidswap_vm::{Allowed, Collected, Fault, Node, NodeState, Outcome, TestRun, keep_failure};

use crate::leaks;
use crate::scene::{Scene, kernel_variant, scaled};
use crate::verdict::{Seen, Verdict};
use crate::wait::{TimedOut, within};

/// How long a node may take to write a mark to its log and its console.
const MARK: Duration = Duration::from_secs(15);

/// How long a node may take to look through all its memory.
const LEAKS: Duration = Duration::from_secs(60);

/// Runs a test between marks in every node's log, and judges it by its own
/// end and by what the kernels said between their marks. One that has not
/// ended after `limit` is a hang: what is to be kept is kept, and the nodes
/// are ended, so that whatever it waits for ends.
pub fn watch(
    scene: &Scene,
    name: &str,
    limit: Duration,
    test: impl FnOnce(&Scene) -> Result<()>,
) -> Verdict {
    let run = TestRun::new(name);
    let mut seen = Seen::default();
    // What was gone before is not this test's.
    let (allowed, nodes, kernel) = match (Allowed::load(), scene.present(), kernel_variant()) {
        (Ok(allowed), Ok(nodes), Ok(kernel)) => (allowed, nodes, kernel),
        (Err(error), ..) => return failed(name, error.into()),
        (_, Err(error), _) | (.., Err(error)) => return failed(name, error),
    };
    seen.unseen = on_each(&nodes, |node| mark(node, &run, Node::mark_begin));
    let mut collected = None;
    if seen.unseen.is_empty() {
        // As the test runner's own, it is longer for a slow kernel only.
        (seen.error, collected) = limited(scene, name, limit * kernel.patience(), test);
    }
    look(scene, &nodes, &run, &allowed, &mut seen);
    Verdict {
        collected,
        ..Verdict::of(name, seen)
    }
}

fn failed(name: &str, error: Error) -> Verdict {
    Verdict::of(name, Seen::error(error))
}

/// Runs the test itself, and ends what it waits for when its time is over.
fn limited(
    scene: &Scene,
    name: &str,
    limit: Duration,
    test: impl FnOnce(&Scene) -> Result<()>,
) -> (Option<Error>, Option<Collected>) {
    let (done, ended) = channel::<()>();
    thread::scope(|scope| {
        let overdue = scope.spawn(move || {
            if ended.recv_timeout(limit) != Err(RecvTimeoutError::Timeout) {
                return None;
            }
            let collected = keep_failure(&scene.cluster, name, &Reporter::auto());
            for node in scene.cluster.nodes().unwrap_or_default() {
                // One that is gone already needs no end.
                let _ = scene.cluster.fault(&Fault::Kill(node.name().to_owned()));
            }
            Some(collected)
        });
        let result = catch_unwind(AssertUnwindSafe(|| test(scene)));
        drop(done);
        let error = match result {
            Ok(result) => result.err(),
            Err(panic) => Some(anyhow!("the test panicked: {}", message(&*panic))),
        };
        match overdue.join() {
            Ok(Some(collected)) => {
                let what = format!("the end of {name}");
                let late = Error::from(TimedOut { what, limit });
                (Some(late), collected)
            }
            _ => (error, None),
        }
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

/// What became of the nodes, and what is between the marks.
fn look(scene: &Scene, nodes: &[Node], run: &TestRun, allowed: &Allowed, seen: &mut Seen) {
    // A node that ended for the harness's own sake is not what failed.
    let hung = seen
        .error
        .as_ref()
        .is_some_and(|error| error.is::<TimedOut>());
    let states = match scene.cluster.status() {
        Ok(status) => status.nodes,
        Err(error) => {
            seen.unseen.push(("supervisor".to_owned(), error.into()));
            Vec::new()
        }
    };
    let mut here = Vec::new();
    for node in nodes {
        let state = states.iter().find(|state| state.name == node.name());
        match state.map(|state| &state.state) {
            Some(NodeState::Gone(gone)) => {
                let ours = hung && gone.outcome == Outcome::InfrastructureFailed;
                if !ours {
                    seen.gone.push((node.name().to_owned(), gone.clone()));
                }
            }
            // A test that failed may have left one paused.
            Some(NodeState::Paused) => {
                let resumed = node.resume().map_err(Error::from);
                if let Err(error) = resumed {
                    seen.unseen.push((node.name().to_owned(), error));
                }
                here.push(node.clone());
            }
            _ => here.push(node.clone()),
        }
    }
    if seen.unseen.is_empty() {
        seen.unseen = on_each(&here, look_for_leaks);
    }
    if seen.unseen.is_empty() {
        seen.unseen = on_each(&here, |node| mark(node, run, Node::mark_end));
    }
    for node in nodes {
        match node.scan() {
            Ok(scan) => {
                if scan.gaps.iter().any(|occasion| occasion.is_during(run)) {
                    let error = anyhow!("its console lost messages, so it was not all seen");
                    seen.unseen.push((node.name().to_owned(), error));
                }
                let ours = scan.splats.into_iter();
                let ours = ours.filter(|splat| splat.occasion.is_during(run));
                for splat in ours {
                    match allowed.reason(&splat) {
                        Some(reason) => eprintln!("allowed: {splat} ({reason})"),
                        None => seen.faults.push(splat),
                    }
                }
            }
            Err(error) => seen.unseen.push((node.name().to_owned(), error.into())),
        }
    }
}

/// Does something on every node at once; gives what failed.
fn on_each(nodes: &[Node], act: impl Fn(&Node) -> Result<()> + Sync) -> Vec<(String, Error)> {
    thread::scope(|scope| {
        let acting: Vec<_> = nodes
            .iter()
            .map(|node| (node, scope.spawn(|| act(node))))
            .collect();
        let mut failed = Vec::new();
        for (node, thread) in acting {
            let result = thread
                .join()
                .unwrap_or_else(|_| Err(anyhow!("a thread panicked")));
            if let Err(error) = result {
                failed.push((node.name().to_owned(), error));
            }
        }
        failed
    })
}

/// Writes a mark.
fn mark(
    node: &Node,
    run: &TestRun,
    write: fn(&Node, &TestRun) -> rapidswap_vm::Result<()>,
) -> Result<()> {
    let (node, run) = (node.clone(), run.clone());
    within("a mark in its log", scaled(MARK)?, move || {
        write(&node, &run).context("mark the log")
    })
}

/// Has the kernel say on its console what memory the test lost, if it can.
fn look_for_leaks(node: &Node) -> Result<()> {
    if kernel_variant()? == Variant::Release {
        return Ok(());
    }
    let node = node.clone();
    within("a search for leaks", scaled(LEAKS)?, move || {
        leaks::look_now_and_then(&node)
    })
}
