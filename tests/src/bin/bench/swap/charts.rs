//! Which plots there are, and what is in them.

use rapidswap_tests::spread::Spread;

use super::plot::Bars;
use super::results::Summary;

/// Plots for each share of local memory.
pub fn charts(summaries: &[Summary]) -> Vec<Bars> {
    let mut percents: Vec<u64> = summaries.iter().map(|one| one.local_percent).collect();
    percents.dedup();
    let plots = percents.into_iter().flat_map(|percent| {
        let of = summaries.iter().filter(|one| one.local_percent == percent);
        let (requests, of): (Vec<&Summary>, Vec<&Summary>) =
            of.partition(|one| one.workload.has_a_rate());
        let plots = [
            bars(
                &format!("latency-{percent}"),
                &format!("99th percentile of requests, {percent} % of the memory local"),
                "microseconds from when each was due",
                &requests,
                |one| one.latency_p99_us,
            ),
            bars(
                &format!("cost-{percent}"),
                &format!("What swapping costs, {percent} % of the memory local"),
                "seconds more than without a limit",
                &of,
                |one| Some(one.cost_seconds),
            ),
            bars(
                &format!("reclaim-{percent}"),
                &format!("Of that, time in reclaim, {percent} % of the memory local"),
                "seconds of the job's threads",
                &of,
                |one| one.reclaim_seconds,
            ),
            bars(
                &format!("cpu-{percent}"),
                &format!("Processor time for each page moved, {percent} % of the memory local"),
                "microseconds, both nodes",
                &of,
                |one| one.vcpu_us_per_page,
            ),
        ];
        plots.into_iter().filter(|bars| !bars.groups.is_empty())
    });
    plots.collect()
}

fn bars(
    name: &str,
    title: &str,
    axis: &str,
    summaries: &[&Summary],
    value: fn(&Summary) -> Option<Spread>,
) -> Bars {
    let mut rows: Vec<_> = summaries.iter().map(|one| one.backend).collect();
    rows.sort_unstable();
    rows.dedup();
    let mut workloads: Vec<_> = summaries.iter().map(|one| one.workload).collect();
    workloads.dedup();
    let groups = workloads.into_iter().map(|workload| {
        let of_row = |row| {
            let one = summaries
                .iter()
                .find(|one| one.workload == workload && one.backend == row)?;
            value(one)
        };
        let spreads = rows.iter().map(|&row| of_row(row)).collect();
        (workload.title().to_owned(), spreads)
    });
    Bars {
        name: name.to_owned(),
        title: title.to_owned(),
        axis: axis.to_owned(),
        groups: groups.collect(),
        series: rows
            .iter()
            .map(|row| row.backend().title().to_owned())
            .collect(),
    }
}
