//! Kernel memory that swap to a memory server takes on the client.

use anyhow::{Context, Result};
use rapidswap_tests::guest::Guest;
use rapidswap_tests::median::median;
use rapidswap_tests::scene::Scene;
use rapidswap_tests::swap_area;
use rapidswap_vm::swap;
use serde::Serialize;

use super::backends::Backend;

/// What the kernel has for itself, in `/proc/meminfo`. Page tables and caches
/// are not in it.
const COUNTED: [&str; 3] = ["SUnreclaim:", "VmallocUsed:", "Percpu:"];

/// What of that is not: stacks, which are in `VmallocUsed`. Workers come and
/// go as they please.
const NOT_COUNTED: &str = "KernelStack:";

/// How often what could be freed is, until no more is found.
const DROPS: usize = 3;

/// Of a MiB.
const KIB: f64 = 1024.0;

/// Of a GiB.
const MIB: f64 = 1024.0;

/// Every round's result, in the order of the rounds: what was taken with two
/// sizes of server and area.
#[derive(Clone, Default, Serialize)]
pub struct Rounds {
    small_mib: u64,
    large_mib: u64,
    with_small_kib: Vec<f64>,
    with_large_kib: Vec<f64>,
}

/// The line through the medians of both.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// With a server of no size.
    pub fixed_mib: f64,
    /// For each GiB that it has.
    pub mib_per_gib: f64,
}

impl Rounds {
    /// Of servers of this size and of a sixteenth of it.
    pub fn new(large_mib: u64) -> Rounds {
        Rounds {
            small_mib: (large_mib / 16).max(1),
            large_mib,
            ..Rounds::default()
        }
    }

    /// Measures one more, where nothing is swapped to.
    pub fn measure(&mut self, scene: &Scene, backend: &dyn Backend) -> Result<()> {
        let small = taken_kib(scene, backend, self.small_mib)?;
        self.with_small_kib.push(small);
        let large = taken_kib(scene, backend, self.large_mib)?;
        self.with_large_kib.push(large);
        Ok(())
    }

    /// What they come to; `None` of nothing.
    pub fn medians(&self) -> Option<Measured> {
        let small = median(&self.with_small_kib)?;
        let large = median(&self.with_large_kib)?;
        let kib_per_mib = (large - small) / (self.large_mib - self.small_mib) as f64;
        Some(Measured {
            fixed_mib: (small - kib_per_mib * self.small_mib as f64) / KIB,
            mib_per_gib: kib_per_mib * MIB / KIB,
        })
    }
}

/// What is in use more than with the same area by itself, which is of the
/// server's size.
fn taken_kib(scene: &Scene, backend: &dyn Backend, mib: u64) -> Result<f64> {
    let client = &scene.client;
    backend.set_up(scene, mib)?;
    let area = swap::area(&client.node)?;
    swap_area::off(client, &area)?;
    client.ok(&["mkswap", &area, &(mib * 1024).to_string()])?;
    client.ok(&["swapon", &area])?;
    let with = in_use_kib(client)?;
    backend.take_down(scene)?;
    swap_area::on(client, &area, false)?;
    let without = in_use_kib(client)?;
    swap_area::off(client, &area)?;
    Ok(with - without)
}

fn in_use_kib(client: &Guest) -> Result<f64> {
    // What could be freed is not needed.
    client.ok(&["sync"])?;
    for _ in 0..DROPS {
        client.write("/proc/sys/vm/drop_caches", "3")?;
    }
    sum_kib(&client.read("/proc/meminfo")?)
}

fn sum_kib(meminfo: &str) -> Result<f64> {
    let value = |name: &str| {
        let value = meminfo.lines().find_map(|line| line.strip_prefix(name));
        let value = value.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        value.with_context(|| format!("/proc/meminfo has no {name}"))
    };
    let counted: Result<f64> = COUNTED.into_iter().map(value).sum();
    Ok(counted? - value(NOT_COUNTED)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_has_for_itself_is_summed() {
        let meminfo = "MemTotal: 100 kB\nSUnreclaim:  10 kB\nVmallocTotal: 7 kB\n\
            VmallocUsed:  20 kB\nPercpu: 3 kB\nKernelStack: 4 kB\n";
        assert_eq!(sum_kib(meminfo).expect("all"), 29.0);
        let error = sum_kib("SUnreclaim: 10 kB\n").expect_err("not all");
        assert!(error.to_string().contains("VmallocUsed"), "{error}");
    }

    #[test]
    fn two_sizes_give_a_line() {
        let mut rounds = Rounds::new(256);
        assert!(rounds.medians().is_none());
        // 2 MiB, and 1 MiB for each GiB.
        rounds.with_small_kib = vec![2048.0 + 16.0];
        rounds.with_large_kib = vec![2048.0 + 256.0];
        let found = rounds.medians().expect("rounds");
        assert!((found.fixed_mib - 2.0).abs() < 1e-9, "{found:?}");
        assert!((found.mib_per_gib - 1.0).abs() < 1e-9, "{found:?}");
    }
}
