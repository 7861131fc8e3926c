//! How a cluster comes to its nodes and a proved link: restored from a saved
//! state where there is one, else booted, and then saved for the next.

use std::time::{Duration, Instant};

use rapidswap_progress::Reporter;

use crate::cluster::lease::Lease;
use crate::cluster::options::UpOptions;
use crate::cluster::states::{self, Saving, State, States};
use crate::cluster::status::Start;
use crate::cluster::{Cluster, EVENTS};
use crate::error::{Error, Result};
use crate::link::{self, End};
use crate::supervisor::{Origin, Plan};

/// What booting both nodes takes under TCG on two cores.
const BOOT: Duration = Duration::from_secs(6);

/// What restoring both takes.
const RESTORE: Duration = Duration::from_secs(1);

/// What saving both takes.
const SAVE: Duration = Duration::from_secs(1);

/// Starts the nodes of a plan and proves their link.
pub(crate) fn start(mut plan: Plan, options: &UpOptions, reporter: &Reporter) -> Result<Lease> {
    let keep = options.keep;
    if plan.profile.is_hosts() {
        plan.start.reason = "hosts run already".into();
        return boot(plan, None, keep, reporter);
    }
    if options.cold || !plan.link {
        return boot(plan, None, keep, reporter);
    }
    if let Some(reason) = states::unsupported(&plan.qemu.version) {
        plan.start.reason = reason;
        return boot(plan, None, keep, reporter);
    }
    let states = States::of(&plan, &rapidswap_cache::root()?)?;
    plan.start.reason = match states.find() {
        None => "no state is saved of such a cluster yet".into(),
        Some(state) => match restore(&plan, &state, reporter) {
            Ok(lease) => return Ok(lease),
            Err(error) if is_of_the_nodes(&error) => {
                states.discard()?;
                let error = error.to_string();
                let line = error.lines().next().unwrap_or_default();
                format!("the saved state was no good and is thrown away: {line}")
            }
            Err(error) => return Err(error),
        },
    };
    let saving = states.begin()?;
    boot(plan, saving, keep, reporter)
}

/// Whether a state could be the cause of an error.
fn is_of_the_nodes(error: &Error) -> bool {
    matches!(
        error,
        Error::Boot { .. }
            | Error::NodeGone { .. }
            | Error::Step { .. }
            | Error::Hangs { .. }
            | Error::Agent(_)
    )
}

fn restore(plan: &Plan, state: &State, reporter: &Reporter) -> Result<Lease> {
    let age = humantime::format_duration(Duration::from_secs(state.age.as_secs()));
    let plan = Plan {
        origin: Origin::State(state.path.clone()),
        start: Start {
            restored: true,
            reason: format!("from a state saved {age} ago"),
        },
        ..plan.clone()
    };
    // What cannot be restored is booted instead, so nobody looks at it.
    let (lease, ready) = nodes(&plan, ("restore", RESTORE), reporter)?;
    ready?;
    let cluster = Cluster::named(&plan.name);
    link::check(&ends(&cluster, &plan)?, &plan.kernel, reporter)?;
    Ok(lease)
}

fn boot(
    mut plan: Plan,
    saving: Option<Saving<'_>>,
    keep: bool,
    reporter: &Reporter,
) -> Result<Lease> {
    if saving.is_some() {
        plan.origin = Origin::BootToSave;
    }
    let (lease, ready) = nodes(&plan, ("boot", BOOT), reporter)?;
    let cluster = Cluster::named(&plan.name);
    if let Err(Error::Boot { .. }) = ready {
        // That it did not boot says more than what its kernel said of it, so
        // that stays the error.
        let _ = cluster.tell(reporter);
    }
    let lease = lease.or_keep(ready, keep, reporter)?;
    if !plan.link {
        return Ok(lease);
    }
    let proved = link::prove(
        &ends(&cluster, &plan)?,
        &plan.profile,
        &plan.kernel,
        reporter,
    );
    let lease = lease.or_keep(cluster.judge(proved, reporter), keep, reporter)?;
    if let Some(saving) = saving {
        let checked = save(&lease, &cluster, &plan, saving, reporter);
        return lease.or_keep(cluster.judge(checked, reporter), keep, reporter);
    }
    Ok(lease)
}

/// The nodes and where they are on the link.
fn ends(cluster: &Cluster, plan: &Plan) -> Result<Vec<End>> {
    let servers = plan.nodes.len().saturating_sub(1) as u32;
    let nodes = plan.profile.nodes(servers)?.into_iter();
    Ok(nodes
        .map(|(name, address)| (cluster.known(&name), address))
        .collect())
}

/// Starts the nodes and waits until they are up, or are not.
fn nodes(plan: &Plan, step: (&str, Duration), reporter: &Reporter) -> Result<(Lease, Result<()>)> {
    reporter.note(&format!("start: {}", plan.start));
    let step = reporter.step(step.0, step.1);
    let lease = Lease::start(plan.clone())?;
    let ready = lease.ready(&step, plan.nodes.len());
    if !matches!(ready, Err(Error::AlreadyUp(_))) {
        // Without a log only a later look at it is lost.
        let _ = reporter.log_to(&Cluster::named(&plan.name).run_dir().join(EVENTS));
    }
    if ready.is_ok() {
        step.done(&format!("{} nodes are up", plan.nodes.len()));
    }
    Ok((lease, ready))
}

/// A state that cannot be saved is no reason to do without the cluster; a link that
/// does not outlive it is.
fn save(
    lease: &Lease,
    cluster: &Cluster,
    plan: &Plan,
    saving: Saving<'_>,
    reporter: &Reporter,
) -> Result<()> {
    let (step, started) = (reporter.step("save", SAVE), Instant::now());
    let ends = ends(cluster, plan)?;
    let held = link::hold(&ends, &plan.kernel);
    let saved = match &held {
        Ok(()) => lease.save(saving.path())?,
        Err(error) => Err(error.to_string()),
    };
    let saved = match (saved, cluster.faults()?.is_empty()) {
        (Ok(()), true) => saving.finish().map_err(|error| error.to_string()),
        (Ok(()), false) => Err("a kernel has complained".into()),
        (Err(reason), _) => Err(reason),
    };
    step.done(&match saved {
        Ok(()) => format!(
            "for the next `up`, in {:.1} s",
            started.elapsed().as_secs_f64()
        ),
        Err(reason) => format!("not saved: {reason}"),
    });
    match held {
        Ok(()) => link::check(&ends, &plan.kernel, reporter),
        Err(_) => Ok(()),
    }
}
