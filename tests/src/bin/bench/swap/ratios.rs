//! The ratios that the comparison is about, from what was measured.

use std::collections::BTreeMap;

use rapidswap_tests::spread::{Spread, geomean};
use serde::Serialize;

use super::backends::Row;
use super::results::Summary;
use super::wanted::{WANTED, Wanted};
use super::workloads::Workload;
use super::{memory, one_by_one};
use crate::link;

/// The share of local memory that ratios are taken at.
pub const PERCENT: u64 = 50;

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
        // Requests at a fixed rate take as long as there are some.
        of_row.filter(|one| one.local_percent == PERCENT && !one.workload.has_a_rate())
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
    fn programs_find_each_ratio_by_its_name() {
        let none = Ratios::of(Found::default());
        let said = serde_json::to_value(&none).expect("JSON");
        for name in [
            "fault_p50_vs_read",
            "fault_p99_vs_read_p99",
            "fault_p99_pressure",
            "swapout_vs_write_bw",
            "swapin_vs_read_bw",
            "swapout_vs_fastswap",
            "fastswap_vs_write_lat",
            "app_vs_nvme_random",
            "app_vs_nvme_sequential",
            "app_vs_nvme_geomean",
            "app_vs_nbd_geomean",
            "cpu_per_page_vs_nvme",
            "kernel_mib_fixed",
            "kernel_mib_per_gib",
        ] {
            assert!(said["ratios"].get(name).is_some(), "no {name}");
            let why = said["why"][name].as_str().expect(name);
            assert!(!why.contains("nobody knows"), "{why}");
        }
    }
}
