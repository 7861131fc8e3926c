//! Processor time of a guest, as its host counts it: the threads of QEMU that
//! run the guest's CPUs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::{SysconfVar, sysconf};

/// How the names of these threads begin, with `debug-threads=on`.
const NAME: &str = "CPU ";

/// What the CPUs of the guests of these QEMU processes have used so far.
/// `None` if one has no such thread: it is no QEMU.
pub fn used(processes: &[u32]) -> Result<Option<Duration>> {
    let ticks = sysconf(SysconfVar::CLK_TCK)?.context("the system has no clock ticks")?;
    let mut sum = 0;
    for pid in processes {
        match of_process(Path::new(&format!("/proc/{pid}/task")))? {
            Some(used) => sum += used,
            None => return Ok(None),
        }
    }
    Ok(Some(Duration::from_secs_f64(sum as f64 / ticks as f64)))
}

fn of_process(tasks: &Path) -> Result<Option<u64>> {
    let mut sum = None;
    let entries = fs::read_dir(tasks).with_context(|| format!("read {}", tasks.display()))?;
    for entry in entries {
        let task = entry?.path();
        // Other threads come and go.
        let Ok(stat) = fs::read_to_string(task.join("stat")) else {
            continue;
        };
        if let Some(ticks) = ticks_of_cpu(&stat) {
            *sum.get_or_insert(0) += ticks;
        }
    }
    Ok(sum)
}

/// Ticks in user and kernel mode of `/proc/PID/task/TID/stat`, if the thread
/// runs a guest's CPU.
fn ticks_of_cpu(stat: &str) -> Option<u64> {
    let (_, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    if !name.starts_with(NAME) {
        return None;
    }
    let fields: Vec<&str> = rest.split(' ').collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a thread of QEMU, shortened behind what is used.
    const STAT: &str = "812 (CPU 0/TCG) S 1 800 800 0 -1 4194368 53 0 0 0 421 79 0 0 20 0 7";

    #[test]
    fn both_modes_count_and_other_threads_do_not() {
        assert_eq!(ticks_of_cpu(STAT), Some(500));
        assert_eq!(ticks_of_cpu(&STAT.replace("CPU 0/TCG", "worker")), None);
        assert_eq!(ticks_of_cpu("812 (CPU 0/KVM) S 1"), None);
    }

    #[test]
    fn a_process_without_such_threads_is_no_guest() {
        let own = std::process::id();
        assert_eq!(used(&[own]).expect("own threads"), None);
        assert_eq!(used(&[]).expect("none"), Some(Duration::ZERO));
    }

    #[test]
    fn a_thread_of_that_name_is_counted() {
        let busy = || {
            let mut stat = None;
            while stat.is_none_or(|ticks| ticks < 3) {
                std::hint::black_box((0..1_000_000u64).sum::<u64>());
                let own = fs::read_to_string("/proc/thread-self/stat").expect("own");
                stat = ticks_of_cpu(&own);
            }
            used(&[std::process::id()]).expect("own threads")
        };
        let thread = std::thread::Builder::new().name("CPU 0/TCG".into());
        let used = thread.spawn(busy).expect("thread").join().expect("ends");
        assert!(used.is_some_and(|used| used > Duration::ZERO), "{used:?}");
    }
}
