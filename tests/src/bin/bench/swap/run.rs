//! One job, run once.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rapidswap_tests::limit::Limit;
use rapidswap_tests::reports::{BENCH_JOB, Job, parse};
use rapidswap_tests::scene::{Scene, scaled};
use rapidswap_tests::time_v::TimeReport;
use rapidswap_tests::trace::Trace;
use rapidswap_tests::vcpu_time;
use rapidswap_tests::vmstat::Vmstat;
use serde::Serialize;

use super::workloads::Workload;

/// What takes longer hangs.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// What a run took.
#[derive(Clone, Debug)]
pub struct Took {
    /// From the job's first instruction to its last check.
    pub seconds: f64,
    /// What both guests used of the host's processors meanwhile, where these
    /// are guests.
    pub vcpu_seconds: Option<f64>,
    /// Pages that left the client's memory.
    pub pages_out: u64,
    /// Pages that came back.
    pub pages_in: u64,
    /// Faults that waited for one.
    pub major_faults: u64,
    /// What its threads spent in reclaim; `None` if it was too much to record.
    pub reclaim_seconds: Option<f64>,
    /// What the kernel's workers spent in it meanwhile.
    pub worker_reclaim_seconds: Option<f64>,
    /// How long its requests took, if it makes some.
    pub latency: Option<Latency>,
    /// What the job came to.
    pub checksum: String,
}

/// How long requests took, from when they were due.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// Median.
    pub p50_us: f64,
    /// 99 of 100 took no longer.
    pub p99_us: f64,
}

/// Runs a job on `mib` MiB, within `local_mib` of memory if that is given.
pub fn run(
    scene: &Scene,
    job: Workload,
    (mib, rate): (u64, u32),
    local_mib: Option<u64>,
) -> Result<Took> {
    let limit = Limit::new(&scene.client, local_mib.unwrap_or(mib))?;
    if local_mib.is_none() {
        limit.lift()?;
    }
    let arguments = job.arguments(mib, rate);
    let mut command = vec![BENCH_JOB];
    command.extend(arguments.iter().map(String::as_str));
    let status = scene.cluster.status()?;
    let guests: Vec<u32> = status.nodes.iter().map(|node| node.pid).collect();
    let cpus = format!("0-{}", status.cpus.saturating_sub(1));

    let (begin, end) = (
        "mm_vmscan_memcg_reclaim_begin",
        "mm_vmscan_memcg_reclaim_end",
    );
    let events = [begin, end].map(|event| format!("vmscan/{event}"));
    let trace = Trace::of(&scene.client, &events.each_ref().map(String::as_str))?;
    let before = Moments::now(scene, &guests)?;
    let output = limit.start_on(&cpus, &command)?.finish(scaled(LIMIT)?)?;
    let after = Moments::now(scene, &guests)?;
    let reclaim = trace.between(begin, end)?;
    drop(trace);

    let errors = String::from_utf8_lossy(&output.stderr);
    let done = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{}: {}: {done} {errors}",
        job.title(),
        output.status
    );
    let done: Job = parse(done.trim())?;
    ensure!(
        done.wrong == 0,
        "{}: wrong in {} places",
        job.title(),
        done.wrong
    );
    let times = TimeReport::parse(&errors).context("time said nothing")?;
    let vcpu = after.vcpu.zip(before.vcpu);
    Ok(Took {
        seconds: done.seconds,
        vcpu_seconds: vcpu.map(|(after, before)| (after - before).as_secs_f64()),
        pages_out: after.pages(["rswpout", "pswpout"], &before)?,
        pages_in: after.pages(["rswpin", "pswpin"], &before)?,
        major_faults: times.major_faults,
        reclaim_seconds: reclaim.map(|spent| spent.by_programs.as_secs_f64()),
        worker_reclaim_seconds: reclaim.map(|spent| spent.by_workers.as_secs_f64()),
        latency: done.latency_ns.map(|times| Latency {
            p50_us: times.p50 as f64 / 1000.0,
            p99_us: times.p99 as f64 / 1000.0,
        }),
        checksum: done.checksum,
    })
}

/// Counters before and after a run.
struct Moments {
    vmstat: Vmstat,
    vcpu: Option<Duration>,
}

impl Moments {
    fn now(scene: &Scene, guests: &[u32]) -> Result<Moments> {
        Ok(Moments {
            vmstat: scene.client.vmstat()?,
            vcpu: vcpu_time::used(guests)?,
        })
    }

    fn pages(&self, counters: [&str; 2], before: &Moments) -> Result<u64> {
        let mut sum = 0;
        for name in counters {
            let values = self.vmstat.get(name).zip(before.vmstat.get(name));
            let (after, before) = values.with_context(|| format!("the kernel has no {name}"))?;
            sum += after - before;
        }
        Ok(sum)
    }
}
