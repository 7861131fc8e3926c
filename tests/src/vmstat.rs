//! Counters of `/proc/vmstat`, and of files of that form as `memory.stat` is.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, ensure};

/// All counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vmstat {
    counters: BTreeMap<String, u64>,
}

/// Pages moved between two moments, by where they went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Pages stored remotely (`rswpout`).
    pub stored: u64,
    /// Stores that failed after they were posted (`rswpout_fail`).
    pub store_failures: u64,
    /// Pages of attached areas that went to the swap device instead
    /// (`rswpout_disk`).
    pub diverted: u64,
    /// Pages loaded remotely (`rswpin`).
    pub loaded: u64,
    /// Loads that failed (`rswpin_fail`).
    pub load_failures: u64,
    /// Loads refused because the slot is lost (`rswpin_lost`).
    pub lost: u64,
    /// Pages written to swap devices (`pswpout`).
    pub disk_writes: u64,
    /// Pages read from swap devices (`pswpin`).
    pub disk_reads: u64,
}

impl Vmstat {
    /// Parses the file. Lines of any other form are passed over.
    pub fn parse(text: &str) -> Vmstat {
        let counters = text
            .lines()
            .filter_map(|line| {
                let (name, value) = line.split_once(' ')?;
                Some((name.to_owned(), value.trim().parse().ok()?))
            })
            .collect();
        Vmstat { counters }
    }

    /// A counter, or `None` where the kernel has none of that name.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.counters.get(name).copied()
    }

    /// How much a counter has grown since `earlier`.
    pub fn grown(&self, earlier: &Vmstat, name: &str) -> Result<u64> {
        let counters = self.get(name).zip(earlier.get(name));
        let (now, then) = counters.with_context(|| format!("no counter {name}"))?;
        Ok(now.wrapping_sub(then))
    }

    /// What was moved since `earlier`. `None` where a counter is missing: an
    /// unpatched kernel.
    pub fn since(&self, earlier: &Vmstat) -> Option<Moved> {
        let of = |name| Some(self.get(name)?.wrapping_sub(earlier.get(name)?));
        Some(Moved {
            stored: of("rswpout")?,
            store_failures: of("rswpout_fail")?,
            diverted: of("rswpout_disk")?,
            loaded: of("rswpin")?,
            load_failures: of("rswpin_fail")?,
            lost: of("rswpin_lost")?,
            disk_writes: of("pswpout")?,
            disk_reads: of("pswpin")?,
        })
    }
}

impl Moved {
    /// Nothing but the backend was used, nothing failed, and at least so many
    /// pages went there and came back.
    pub fn remote_alone(&self, at_least: u64) -> Result<()> {
        ensure!(
            self.disk_writes + self.diverted == 0,
            "pages went to disk: {self}"
        );
        ensure!(
            self.store_failures + self.load_failures + self.lost == 0,
            "stores or loads failed: {self}"
        );
        ensure!(
            self.stored >= at_least && self.loaded >= at_least,
            "too few pages moved: {self}"
        );
        Ok(())
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "stored {} (failed {}, diverted {}), loaded {} (failed {}, lost {}), \
             disk writes {}, disk reads {}",
            self.stored,
            self.store_failures,
            self.diverted,
            self.loaded,
            self.load_failures,
            self.lost,
            self.disk_writes,
            self.disk_reads,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "nr_free_pages 1\nrswpout 10\nrswpout_fail 0\nrswpout_disk 1\n\
        rswpin 5\nrswpin_fail 0\nrswpin_lost 0\npswpin 0\npswpout 7\n";

    #[test]
    fn a_difference_names_each_direction() {
        let after = BEFORE
            .replace("rswpout 10", "rswpout 30")
            .replace("pswpout 7", "pswpout 8");
        let moved = Vmstat::parse(&after)
            .since(&Vmstat::parse(BEFORE))
            .expect("all counters");
        let expected = Moved {
            stored: 20,
            disk_writes: 1,
            ..Moved::default()
        };
        assert_eq!(moved, expected);
    }

    #[test]
    fn what_is_on_the_disk_is_not_remote_alone() {
        let moved = Moved {
            stored: 2,
            loaded: 1,
            ..Moved::default()
        };
        assert!(moved.remote_alone(1).is_ok() && moved.remote_alone(2).is_err());
        for other in [
            Moved {
                diverted: 1,
                ..moved
            },
            Moved {
                disk_writes: 1,
                ..moved
            },
            Moved {
                store_failures: 1,
                ..moved
            },
            Moved { lost: 1, ..moved },
        ] {
            assert!(other.remote_alone(0).is_err(), "{other}");
        }
    }

    #[test]
    fn an_unpatched_kernel_has_no_difference() {
        let plain = Vmstat::parse("pswpin 0\npswpout 7\n");
        assert_eq!(plain.get("pswpout"), Some(7));
        assert_eq!(plain.since(&plain), None);
    }
}
