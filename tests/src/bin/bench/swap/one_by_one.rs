//! Whether storing page by page is as quick as the link lets it be, so that
//! what is compared with it is not compared with a straw man.

use anyhow::Result;
use rapidswap_tests::median::median;
use rapidswap_tests::perftest::typical_latency_us;
use rapidswap_tests::scene::Scene;
use rapidswap_tests::table::Table;
use serde::Serialize;

use crate::link::{PAGES_PER_MIB, Perftest, pageout_mib_s};

/// Enough for a median.
const SAMPLES: usize = 500;

/// Every round's result, in the order of the rounds.
#[derive(Clone, Default, Serialize)]
pub struct Rounds {
    pageout_mib_s: Vec<f64>,
    ib_write_lat_us: Vec<f64>,
}

/// Medians over the rounds, and what they are as ratios.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Rate of page-out of touched memory.
    pub pageout_mib_s: f64,
    page_us: f64,
    ib_write_lat_us: f64,
    /// A page's time to that of a WRITE as `ib_write_lat` has it: half of the
    /// time there and back, polled for on both nodes.
    pub page_to_ib_write_lat: f64,
}

impl Measured {
    /// For people.
    pub fn rows(&self, table: &mut Table) {
        let mut row = |name: &str, us: f64| table.row(name, format!("{us:.0} us"));
        row("page-out one by one, a page", self.page_us);
        row("ib_write_lat", self.ib_write_lat_us);
    }
}

impl Rounds {
    /// Measures one more, where stores go one by one.
    pub fn measure(&mut self, scene: &Scene) -> Result<()> {
        self.pageout_mib_s.push(pageout_mib_s(&scene.client)?);
        let latency = Perftest::new("ib_write_lat", SAMPLES, typical_latency_us);
        self.ib_write_lat_us.push(latency.run(scene)?);
        Ok(())
    }

    /// What they come to; `None` of nothing.
    pub fn medians(&self) -> Option<Measured> {
        let pageout_mib_s = median(&self.pageout_mib_s)?;
        let ib_write_lat_us = median(&self.ib_write_lat_us)?;
        let page_us = 1e6 / (pageout_mib_s * PAGES_PER_MIB);
        Some(Measured {
            pageout_mib_s,
            page_us,
            ib_write_lat_us,
            page_to_ib_write_lat: page_us / ib_write_lat_us,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_time_for_each_page() {
        let rounds = Rounds {
            pageout_mib_s: vec![1.0, 4.0, 2.0],
            ib_write_lat_us: vec![1000.0, 976.5625, 900.0],
        };
        let found = rounds.medians().expect("rounds");
        assert!((found.page_us - 1953.125).abs() < 1e-9, "{found:?}");
        assert!((found.page_to_ib_write_lat - 2.0).abs() < 1e-9, "{found:?}");
        assert!(Rounds::default().medians().is_none());
    }
}
