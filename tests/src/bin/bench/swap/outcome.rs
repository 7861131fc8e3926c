//! All that a comparison found, for programs and for people.

use rapidswap_tests::table::Table;
use serde::Serialize;

use super::ratios::Ratios;
use super::results::{Run, Summary};
use super::wanted::{Aim, WANTED};
use super::{memory, one_by_one};
use crate::link::{Measured, Rounds};

/// What was measured, and on what.
#[derive(Serialize)]
pub struct Outcome {
    /// What runs the guests.
    pub accel: String,
    /// Why that.
    pub accel_reason: String,
    /// The nodes' kernel.
    pub kernel_release: String,
    /// CPUs of each node.
    pub cpus: u32,
    /// Pages that are read at once around a fault, as a power of two.
    pub page_cluster: u32,
    /// Memory that each job uses.
    pub size_mib: u64,
    /// Requests in a second to those that take some.
    pub rate: u32,
    /// How often everything was run.
    pub rounds: u32,
    /// Of the host, when each round began and when the last ended.
    pub load: Vec<f64>,
    /// What it is about.
    #[serde(flatten)]
    pub ratios: Ratios,
    /// What the rounds of each come to.
    pub summaries: Vec<Summary>,
    /// The link, measured while the module was there.
    pub link: Option<Link>,
    /// Stores one by one, and the link.
    pub one_by_one: Option<OneByOne>,
    /// Kernel memory of the client.
    pub kernel_memory: Option<KernelMemory>,
    /// Every run, in the order in which they were made.
    pub runs: Vec<Run>,
}

/// Faults, page-outs and page-ins beside what the link does.
#[derive(Serialize)]
pub struct Link {
    /// Medians.
    #[serde(flatten)]
    pub measured: Measured,
    /// What they are of.
    pub rounds: Rounds,
}

/// Page-outs one by one beside what the link does.
#[derive(Serialize)]
pub struct OneByOne {
    /// Medians.
    #[serde(flatten)]
    pub measured: one_by_one::Measured,
    /// What they are of.
    pub rounds: one_by_one::Rounds,
}

/// Kernel memory with two sizes of server.
#[derive(Serialize)]
pub struct KernelMemory {
    /// What medians come to.
    #[serde(flatten)]
    pub measured: memory::Measured,
    /// What they are of.
    pub rounds: memory::Rounds,
}

impl Outcome {
    /// For people.
    pub fn table(&self) -> Table {
        let mut table = Table::default();
        for (name, value) in self.conditions() {
            table.row(name, value);
        }
        for one in &self.summaries {
            let title = one.backend.backend().title();
            let Summary {
                workload,
                local_percent,
                cost_seconds,
                seconds,
                ..
            } = one;
            let name = format!("{}, {local_percent} %, {title}", workload.title());
            let mut value = format!("{:.1} s, of which swap {cost_seconds:.1} s", seconds.median);
            if let Some(reclaim) = &one.reclaim_seconds {
                value += &format!(", reclaim {:.1} s", reclaim.median);
            }
            if let Some(workers) = &one.worker_reclaim_seconds {
                value += &format!(", beside it by workers {:.1} s", workers.median);
            }
            if let Some(p50) = &one.latency_p50_us {
                value += &format!(", p50 {p50:.0} us");
            }
            if let Some(p99) = &one.latency_p99_us {
                value += &format!(", p99 {p99:.0} us");
            }
            if let Some(vcpu) = &one.vcpu_us_per_page {
                value += &format!(", {vcpu:.0} us of CPU a page");
            }
            table.row(&name, value);
        }
        self.link_rows(&mut table);
        for verdict in self.verdicts() {
            let missed = if verdict.missed { ", not reached" } else { "" };
            let aim = verdict.aim.map(|aim| format!(" (aim: {aim}{missed})"));
            let value = format!("{}{}", verdict.found, aim.unwrap_or_default());
            table.row(verdict.name, value);
        }
        table
    }

    /// Faults, page-outs and page-ins beside what the link does.
    pub fn link_rows(&self, table: &mut Table) {
        if let Some(link) = &self.link {
            link.measured.rows(table);
        }
        if let Some(one_by_one) = &self.one_by_one {
            one_by_one.measured.rows(table);
        }
    }

    /// What it was measured on.
    pub fn conditions(&self) -> Vec<(&'static str, String)> {
        let load: Vec<String> = self.load.iter().map(|load| format!("{load:.1}")).collect();
        vec![
            (
                "accelerator",
                format!("{} ({})", self.accel, self.accel_reason),
            ),
            ("kernel", self.kernel_release.clone()),
            ("CPUs of each node", self.cpus.to_string()),
            ("page-cluster", self.page_cluster.to_string()),
            ("memory of a job", format!("{} MiB", self.size_mib)),
            ("requests", format!("{} a second", self.rate)),
            ("rounds", self.rounds.to_string()),
            ("load of the host", load.join(", ")),
        ]
    }

    /// Each ratio, or why there is none, and what it should reach.
    pub fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        WANTED.into_iter().map(|wanted| {
            let found = self.ratios.ratios.get(wanted.name).copied().flatten();
            let why = || self.ratios.why.get(wanted.name).cloned();
            let missed = wanted.aim.zip(found);
            let missed = missed.is_some_and(|(aim, value)| !aim.reached(value));
            Verdict {
                name: wanted.name,
                about: wanted.about,
                found: match found {
                    Some(value) => format!("{value:.2}"),
                    None => format!("none: {}", why().unwrap_or_default()),
                },
                aim: wanted.aim.map(|aim| match aim {
                    Aim::AtMost(most) => format!("at most {most}"),
                    Aim::AtLeast(least) => format!("at least {least}"),
                }),
                missed,
            }
        })
    }
}

/// A ratio for people.
pub struct Verdict {
    /// Its name.
    pub name: &'static str,
    /// What it is of.
    pub about: &'static str,
    /// Its value, or why there is none.
    pub found: String,
    /// What it should reach, where that is settled.
    pub aim: Option<String>,
    /// Whether it does not.
    pub missed: bool,
}
