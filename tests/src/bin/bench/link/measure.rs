//! What swap does beside what the same link does without it, on a running
//! cluster that swaps to the memory server.

use anyhow::{Context, Result};
use rapidswap_tests::median::median;
use rapidswap_tests::perftest::{average_mib_per_second, typical_latency_us};
use rapidswap_tests::remote_module::selftest;
use rapidswap_tests::scene::Scene;
use rapidswap_tests::table::Table;
use rapidswap_workloads::percentiles::Percentiles;
use serde::Serialize;

use super::pages::{
    PAGES_PER_MIB, SAMPLES, faults, faults_at_the_limit, pagein_mib_s, pageout_mib_s,
};
use super::perftest::Perftest;

/// Median fault of swap over NVMe over RDMA in units of `ib_read_lat`, on the
/// same link between the same nodes: what this is measured against.
const REFERENCE: f64 = 2.1;

/// Enough for a median.
const FEW_SAMPLES: usize = 500;

/// Pages that a pass of reclaim stores together: `SWAP_CLUSTER_MAX` of
/// `include/linux/swap.h`.
const BATCH_PAGES: f64 = 32.0;

/// Every round's result, in the order of the rounds.
#[derive(Clone, Default, Serialize)]
pub struct Rounds {
    fault_us: Vec<f64>,
    fault_p99_us: Vec<f64>,
    fault_p99_at_limit_us: Vec<f64>,
    selftest_read_us: Vec<f64>,
    selftest_read_p99_us: Vec<f64>,
    ib_read_lat_us: Vec<f64>,
    pageout_mib_s: Vec<f64>,
    ib_write_bw_mib_s: Vec<f64>,
    pagein_mib_s: Vec<f64>,
    ib_read_bw_mib_s: Vec<f64>,
}

/// Medians over the rounds, and what they are as ratios.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    fault_us: f64,
    fault_p99_us: f64,
    fault_p99_at_limit_us: f64,
    selftest_read_us: f64,
    selftest_read_p99_us: f64,
    ib_read_lat_us: f64,
    /// Median fault to the module's own READ, in the same session.
    pub fault_to_selftest: f64,
    /// Likewise of what 99 of 100 are not above.
    pub fault_p99_to_selftest_p99: f64,
    /// What 99 of 100 faults are not above that write to a page when none is
    /// left, to one READ and a batch of WRITEs at the link's rate.
    pub fault_p99_at_limit_to_read_and_batch: f64,
    fault_to_ib_read_lat: f64,
    reference_fault_to_ib_read_lat: f64,
    /// Rate of page-out of touched memory.
    pub pageout_mib_s: f64,
    ib_write_bw_mib_s: f64,
    /// Page-out of touched memory to WRITEs of a page.
    pub pageout_to_ib_write_bw: f64,
    pagein_mib_s: f64,
    ib_read_bw_mib_s: f64,
    /// Reading memory page after page to READs of a page, 16 at a time.
    pub pagein_to_ib_read_bw: f64,
}

impl Rounds {
    /// Measures one more.
    pub fn measure(&mut self, scene: &Scene) -> Result<()> {
        let seed = self.fault_us.len();
        // Half of them before the faults that they are the measure of, and half
        // after: what else the host does changes within seconds.
        let mut reads = selftest(&scene.client, SAMPLES / 2)?;
        let times = faults(&scene.client, seed)?;
        self.fault_us.push(times.p50 as f64 / 1000.0);
        self.fault_p99_us.push(times.p99 as f64 / 1000.0);
        reads.extend(selftest(&scene.client, SAMPLES / 2)?);
        let reads = Percentiles::of(reads).context("the self-test measured nothing")?;
        self.selftest_read_us.push(reads.p50 as f64 / 1000.0);
        self.selftest_read_p99_us.push(reads.p99 as f64 / 1000.0);
        let times = faults_at_the_limit(&scene.client, seed)?;
        self.fault_p99_at_limit_us.push(times.p99 as f64 / 1000.0);

        let latency = Perftest::new("ib_read_lat", FEW_SAMPLES, typical_latency_us);
        self.ib_read_lat_us.push(latency.run(scene)?);
        self.pageout_mib_s.push(pageout_mib_s(&scene.client)?);
        let writes = Perftest::new("ib_write_bw", 4096, average_mib_per_second);
        self.ib_write_bw_mib_s.push(writes.run(scene)?);
        self.pagein_mib_s.push(pagein_mib_s(&scene.client)?);
        let reads = Perftest::new("ib_read_bw", 4096, average_mib_per_second);
        let reads = reads.with(&["-o", "16"]);
        self.ib_read_bw_mib_s.push(reads.run(scene)?);
        Ok(())
    }

    /// What they come to.
    pub fn medians(&self) -> Result<Measured> {
        let middle = |values: &[f64]| median(values).context("no rounds");
        let fault_us = middle(&self.fault_us)?;
        let fault_p99_us = middle(&self.fault_p99_us)?;
        let fault_p99_at_limit_us = middle(&self.fault_p99_at_limit_us)?;
        let selftest_read_us = middle(&self.selftest_read_us)?;
        let selftest_read_p99_us = middle(&self.selftest_read_p99_us)?;
        let ib_read_lat_us = middle(&self.ib_read_lat_us)?;
        let pageout_mib_s = middle(&self.pageout_mib_s)?;
        let ib_write_bw_mib_s = middle(&self.ib_write_bw_mib_s)?;
        let pagein_mib_s = middle(&self.pagein_mib_s)?;
        let ib_read_bw_mib_s = middle(&self.ib_read_bw_mib_s)?;
        let batch_us = BATCH_PAGES / PAGES_PER_MIB / ib_write_bw_mib_s * 1e6;
        Ok(Measured {
            fault_us,
            fault_p99_us,
            fault_p99_at_limit_us,
            selftest_read_us,
            selftest_read_p99_us,
            ib_read_lat_us,
            fault_to_selftest: fault_us / selftest_read_us,
            fault_p99_to_selftest_p99: fault_p99_us / selftest_read_p99_us,
            fault_p99_at_limit_to_read_and_batch: fault_p99_at_limit_us
                / (selftest_read_us + batch_us),
            fault_to_ib_read_lat: fault_us / ib_read_lat_us,
            reference_fault_to_ib_read_lat: REFERENCE,
            pageout_mib_s,
            ib_write_bw_mib_s,
            pageout_to_ib_write_bw: pageout_mib_s / ib_write_bw_mib_s,
            pagein_mib_s,
            ib_read_bw_mib_s,
            pagein_to_ib_read_bw: pagein_mib_s / ib_read_bw_mib_s,
        })
    }
}

impl Measured {
    /// For people.
    pub fn rows(&self, table: &mut Table) {
        let us = |p50: f64, p99: f64| format!("{p50:.0} us, p99 {p99:.0} us");
        table.row("random fault", us(self.fault_us, self.fault_p99_us));
        let pressed = format!("p99 {:.0} us", self.fault_p99_at_limit_us);
        table.row("random write fault at the limit", pressed);
        let read = us(self.selftest_read_us, self.selftest_read_p99_us);
        table.row("self-test READ", read);
        table.row("ib_read_lat", format!("{:.0} us", self.ib_read_lat_us));
        let (p50, p99) = (self.fault_to_selftest, self.fault_p99_to_selftest_p99);
        table.row("fault to self-test", format!("{p50:.2}, p99 {p99:.2}"));
        table.row(
            "fault to ib_read_lat",
            format!(
                "{:.2} (swap over NVMe/RDMA: {:.1})",
                self.fault_to_ib_read_lat, self.reference_fault_to_ib_read_lat
            ),
        );
        let mut rate = |name: &str, value: f64| table.row(name, format!("{value:.1} MiB/s"));
        rate("page-out", self.pageout_mib_s);
        rate("ib_write_bw", self.ib_write_bw_mib_s);
        rate("page-in, in order", self.pagein_mib_s);
        rate("ib_read_bw -o 16", self.ib_read_bw_mib_s);
        let mut ratio = |name: &str, value: f64| table.row(name, format!("{value:.2}"));
        ratio(
            "p99 at the limit to READ and batch",
            self.fault_p99_at_limit_to_read_and_batch,
        );
        ratio("page-out to ib_write_bw", self.pageout_to_ib_write_bw);
        ratio("page-in to ib_read_bw", self.pagein_to_ib_read_bw);
    }
}
