//! The ratios that the comparison is about, each with what it should be at
//! most or at least.

use std::collections::BTreeMap;

use rapidswap_tests::spread::{Spread, geomean};
use serde::Serialize;

use super::backends::Row;
use super::results::Summary;
use super::workloads::Workload;
use super::{memory, one_by_one};
use crate::link;

/// The share of local memory that ratios are taken at.
pub const PERCENT: u64 = 50;

/// What a ratio should reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aim {
    /// Less is better.
    AtMost(f64),
    /// More is better.
    AtLeast(f64),
}

impl Aim {
    /// Whether a value is as good.
    pub fn reached(self, value: f64) -> bool {
        match self {
            Aim::AtMost(most) => value <= most,
            Aim::AtLeast(least) => value >= least,
        }
    }
}

/// A ratio.
pub struct Wanted {
    /// Its name.
    pub name: &'static str,
    /// What it is of, for people.
    pub about: &'static str,
    /// What it should reach, where that is settled.
    pub aim: Option<Aim>,
}

const fn wanted(name: &'static str, about: &'static str, aim: Option<Aim>) -> Wanted {
    Wanted { name, about, aim }
}

/// All of them, in the order of reports.
pub const WANTED: [Wanted; 14] = [
    wanted(
        "fault_p50_vs_read",
        "median fault to median READ of the module, in one session",
        Some(Aim::AtMost(1.3)),
    ),
    wanted(
        "fault_p99_vs_read_p99",
        "likewise of the 99th percentiles",
        Some(Aim::AtMost(1.3)),
    ),
    wanted(
        "fault_p99_pressure",
        "99th percentile of a write fault at the limit, to a READ and 32 pages at ib_write_bw's rate",
        None,
    ),
    wanted(
        "swapout_vs_write_bw",
        "MADV_PAGEOUT of touched pages to ib_write_bw, 4 KiB",
        Some(Aim::AtLeast(0.9)),
    ),
    wanted(
        "swapin_vs_read_bw",
        "pages read in order to ib_read_bw -o 16, 4 KiB",
        Some(Aim::AtLeast(0.8)),
    ),
    wanted(
        "swapout_vs_fastswap",
        "MADV_PAGEOUT to the same with stores one by one",
        None,
    ),
    wanted(
        "fastswap_vs_write_lat",
        "a page's time with stores one by one to ib_write_lat, 4 KiB",
        Some(Aim::AtMost(1.3)),
    ),
    wanted(
        "app_vs_nvme_random",
        "cost of the random touch to that on NVMe/RDMA",
        Some(Aim::AtMost(0.7)),
    ),
    wanted(
        "app_vs_nvme_sequential",
        "likewise of the sequential touch",
        Some(Aim::AtMost(0.4)),
    ),
    wanted(
        "app_vs_nvme_geomean",
        "likewise of all jobs, the geometric mean",
        Some(Aim::AtMost(0.6)),
    ),
    wanted(
        "app_vs_nbd_geomean",
        "likewise to NBD",
        Some(Aim::AtMost(0.4)),
    ),
    wanted(
        "cpu_per_page_vs_nvme",
        "processor time for each page moved to that on NVMe/RDMA",
        Some(Aim::AtMost(0.7)),
    ),
    wanted(
        "kernel_mib_fixed",
        "MiB of kernel memory on the client, whatever the server's size",
        None,
    ),
    wanted(
        "kernel_mib_per_gib",
        "and for each GiB that the server has",
        None,
    ),
];

/// What ratios are of.
#[derive(Clone, Copy, Default)]
pub struct Found<'a> {
    /// Jobs.
    pub summaries: &'a [Summary],
    /// Faults, page-outs and page-ins beside the link.
    pub link: Option<&'a link::Measured>,
    /// Stores one by one.
    pub one_by_one: Option<&'a one_by_one::Measured>,
    /// The client's kernel memory.
    pub memory: Option<&'a memory::Measured>,
}

/// Every ratio, or why there is none.
#[derive(Clone, Debug, Serialize)]
pub struct Ratios {
    /// By name; null where there is none.
    pub ratios: BTreeMap<&'static str, Option<f64>>,
    /// Why there is none, by name.
    pub why: BTreeMap<&'static str, String>,
}

impl Ratios {
    /// Of what was measured.
    pub fn of(found: Found) -> Ratios {
        let (mut ratios, mut why) = (BTreeMap::new(), BTreeMap::new());
        for Wanted { name, .. } in WANTED {
            let value = ratio(name, found);
            ratios.insert(name, value.as_ref().ok().copied());
            if let Err(reason) = value {
                why.insert(name, reason);
            }
        }
        Ratios { ratios, why }
    }
}

fn ratio(name: &str, found: Found) -> Result<f64, String> {
    let left_out = |row: Row| format!("{} was left out", row.backend().title());
    let link = found.link.ok_or_else(|| left_out(Row::Rapidswap));
    let memory = found.memory.ok_or_else(|| left_out(Row::Rapidswap));
    let one_by_one = found.one_by_one.ok_or_else(|| left_out(Row::OneByOne));
    let summaries = found.summaries;
    let cost: fn(&Summary) -> Option<Spread> = |one| Some(one.cost_seconds);
    match name {
        "fault_p50_vs_read" => link.map(|link| link.fault_to_selftest),
        "fault_p99_vs_read_p99" => link.map(|link| link.fault_p99_to_selftest_p99),
        "fault_p99_pressure" => link.map(|link| link.fault_p99_at_limit_to_read_and_batch),
        "swapout_vs_fastswap" => link.and_then(|link| {
            one_by_one.map(|one_by_one| link.pageout_mib_s / one_by_one.pageout_mib_s)
        }),
        "fastswap_vs_write_lat" => one_by_one.map(|one_by_one| one_by_one.page_to_ib_write_lat),
        "kernel_mib_fixed" => memory.map(|memory| memory.fixed_mib),
        "kernel_mib_per_gib" => memory.map(|memory| memory.mib_per_gib),
        "swapout_vs_write_bw" => link.map(|link| link.pageout_to_ib_write_bw),
        "swapin_vs_read_bw" => link.map(|link| link.pagein_to_ib_read_bw),
        "app_vs_nvme_random" => of_one(summaries, Workload::Random),
        "app_vs_nvme_sequential" => of_one(summaries, Workload::Sequential),
        "app_vs_nvme_geomean" => of_all(summaries, Row::Nvme, cost),
        "app_vs_nbd_geomean" => of_all(summaries, Row::Nbd, cost),
        "cpu_per_page_vs_nvme" => of_all(summaries, Row::Nvme, |one| one.vcpu_us_per_page),
        other => Err(format!("nobody knows {other}")),
    }
}

/// Of one workload's cost to that on NVMe.
fn of_one(summaries: &[Summary], workload: Workload) -> Result<f64, String> {
    let cost = |one: &Summary| Some(one.cost_seconds);
    let ratios = pairs(summaries, Row::Nvme, cost)?;
    let mut ratios = ratios.into_iter().filter(|(of, _)| *of == workload);
    let found = ratios.next().map(|(_, ratio)| ratio);
    found.unwrap_or_else(|| Err(format!("{} was left out", workload.title())))
}

/// The geometric mean over all workloads.
fn of_all(
    summaries: &[Summary],
    other: Row,
    value: fn(&Summary) -> Option<Spread>,
) -> Result<f64, String> {
    let ratios = pairs(summaries, other, value)?.into_iter();
    let ratios: Vec<f64> = ratios.map(|(_, ratio)| ratio).collect::<Result<_, _>>()?;
    geomean(&ratios).ok_or_else(|| "no workload was run on both".to_owned())
}

/// For each workload, the median of ours as a ratio to the other row's.
type Pairs = Vec<(Workload, Result<f64, String>)>;

fn pairs(
    summaries: &[Summary],
    other: Row,
    value: fn(&Summary) -> Option<Spread>,
) -> Result<Pairs, String> {
    let of = |row: Row| {
        let of_row = summaries.iter().filter(move |one| one.backend == row);
        of_row.filter(|one| one.local_percent == PERCENT)
    };
    for row in [Row::Rapidswap, other] {
        if of(row).next().is_none() {
            let title = row.backend().title();
            return Err(format!(
                "{title} was not measured at {PERCENT} % local memory"
            ));
        }
    }
    let both = of(Row::Rapidswap).filter_map(|ours| {
        let theirs = of(other).find(|one| one.workload == ours.workload)?;
        Some((ours, theirs))
    });
    Ok(both
        .map(|(ours, theirs)| {
            let title = ours.workload.title();
            let ratio = match value(ours).zip(value(theirs)) {
                Some((a, b)) if a.median > 0.0 && b.median > 0.0 => Ok(a.median / b.median),
                Some(_) => Err(format!(
                    "{title}: swapping cost nothing that could be measured"
                )),
                None => Err(format!("{title}: the nodes are no guests of this host")),
            };
            (ours.workload, ratio)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::super::results::summaries;
    use super::super::results::tests::run;
    use super::*;

    fn found(of: &[(Row, Workload, f64)]) -> Ratios {
        let runs: Vec<_> = of
            .iter()
            .map(|&(row, workload, cost)| run(row, workload, 0, cost))
            .collect();
        Ratios::of(Found {
            summaries: &summaries(&runs),
            ..Found::default()
        })
    }

    #[test]
    fn costs_are_compared_workload_by_workload() {
        let all = found(&[
            (Row::Rapidswap, Workload::Random, 2.0),
            (Row::Rapidswap, Workload::Sequential, 1.0),
            (Row::Nvme, Workload::Random, 4.0),
            (Row::Nvme, Workload::Sequential, 8.0),
        ]);
        let close = |name: &str, value: f64| {
            let ratio = all.ratios[name].expect(name);
            assert!((ratio - value).abs() < 1e-9, "{name}: {ratio}");
        };
        close("app_vs_nvme_random", 0.5);
        close("app_vs_nvme_sequential", 0.125);
        close("app_vs_nvme_geomean", 0.25);
        close("cpu_per_page_vs_nvme", 0.25);
    }

    #[test]
    fn what_is_missing_is_null_and_says_why() {
        let none = found(&[(Row::Rapidswap, Workload::Random, 2.0)]);
        assert!(none.ratios.values().all(Option::is_none));
        assert_eq!(none.why.len(), WANTED.len());
        assert!(none.why["app_vs_nbd_geomean"].contains("NBD was not measured"));
        assert!(none.why["fault_p50_vs_read"].contains("Rapidswap was left out"));
        assert!(none.why["fastswap_vs_write_lat"].contains("one by one was left out"));
        let free = found(&[
            (Row::Rapidswap, Workload::Random, 0.0),
            (Row::Nvme, Workload::Random, 4.0),
        ]);
        assert_eq!(free.ratios["app_vs_nvme_random"], None);
        assert!(free.why["app_vs_nvme_random"].contains("cost nothing"));
        assert!(free.why["app_vs_nvme_sequential"].contains("left out"));
    }

    #[test]
    fn an_aim_has_a_direction() {
        assert!(Aim::AtMost(1.3).reached(1.2) && !Aim::AtMost(1.3).reached(1.4));
        assert!(Aim::AtLeast(0.9).reached(0.95) && !Aim::AtLeast(0.9).reached(0.8));
    }
}
