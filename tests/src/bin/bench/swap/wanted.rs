//! Which ratios there are, what each is of, and what it should be at most or at
//! least.

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
        Some(Aim::AtMost(1.3)),
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
        Some(Aim::AtLeast(2.0)),
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
        Some(Aim::AtMost(4.0)),
    ),
    wanted(
        "kernel_mib_per_gib",
        "and for each GiB that the server has",
        Some(Aim::AtMost(0.2)),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aim_has_a_direction() {
        assert!(Aim::AtMost(1.3).reached(1.2) && !Aim::AtMost(1.3).reached(1.4));
        assert!(Aim::AtLeast(0.9).reached(0.95) && !Aim::AtLeast(0.9).reached(0.8));
    }
}
