//! What the workloads print.

use anyhow::{Context, Result, ensure};
use rapidswap_protocol::{ExitStatus, Output};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Path of `page-pattern` in a node.
pub const PAGE_PATTERN: &str = "/rapidswap/bin/page-pattern";

/// Path of `redis-check` in a node.
pub const REDIS_CHECK: &str = "/rapidswap/bin/redis-check";

/// Path of `bench-job` in a node.
pub const BENCH_JOB: &str = "/rapidswap/bin/bench-job";

/// Where a byte was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Position {
    /// The page.
    pub page: u64,
    /// The byte in it.
    pub offset: u16,
}

/// Outcome of `page-pattern verify` and `redis-check`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Verified {
    /// Bytes compared.
    pub bytes_verified: u64,
    /// Bytes that were wrong.
    pub corrupt_bytes: u64,
    /// The first of them.
    pub corrupt: Vec<Position>,
    /// Values that were not there at all (`redis-check`).
    #[serde(default)]
    pub missing: u64,
    /// Wall-clock time of all of it.
    pub seconds: f64,
}

/// What `page-pattern verify --hold` prints when its memory is paged out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Held {
    /// Pages that are in swap alone.
    pub evicted_pages: usize,
    /// Some of them.
    pub evicted: Vec<Evicted>,
}

/// A page that is in swap alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Evicted {
    /// The page.
    pub page: u64,
    /// The swap area.
    pub area: u8,
    /// Its slot there.
    pub slot: u64,
}

/// Outcome of `page-pattern faults`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Faults {
    /// Pages that were out before the first fault.
    pub evicted_pages: usize,
    /// Bytes compared afterwards.
    pub bytes_verified: u64,
    /// Bytes that were wrong.
    pub corrupt_bytes: u64,
    /// How long the faults took.
    pub fault_ns: Times,
}

/// Distribution of times in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Times {
    /// How many there are.
    pub count: usize,
    /// Median.
    pub p50: u64,
    /// 99 of 100 were not longer.
    pub p99: u64,
}

/// Outcome of `page-pattern pagein`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PageIns {
    /// Pages that were in swap alone before.
    pub pages_in: u64,
    /// Bytes that were wrong.
    pub corrupt_bytes: u64,
    /// Rate of one page after the other.
    pub mib_per_second: f64,
}

/// Outcome of `bench-job`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Job {
    /// Wall-clock time of all of it.
    pub seconds: f64,
    /// What it came to, which is the same each time.
    pub checksum: String,
    /// Places in which its data was not what it must have been.
    pub wrong: u64,
    /// How long its requests took, if it is one that makes some.
    pub latency_ns: Option<Times>,
}

/// Outcome of `page-pattern pageout`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PageOuts {
    /// Each round.
    pub rounds: Vec<PageOut>,
}

/// One round of `page-pattern pageout`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PageOut {
    /// Pages in swap afterwards.
    pub pages_out: u64,
    /// Pages there were.
    pub pages: u64,
    /// Rate until the last page had arrived.
    pub mib_per_second: f64,
}

/// Parses the one line that a workload printed.
pub fn parse<T: DeserializeOwned>(line: &str) -> Result<T> {
    serde_json::from_str(line).with_context(|| format!("not a report: {line:?}"))
}

/// The report of a workload that could make its check, be the bytes right
/// (exit status 0) or wrong (1).
pub fn report<T: DeserializeOwned>(output: &Output) -> Result<T> {
    let stdout = String::from_utf8_lossy(&output.stdout);
    ensure!(
        matches!(output.status, ExitStatus::Code(0 | 1)),
        "the check was not made: {}: {stdout} {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    parse(stdout.trim())
}

/// The report of a check in which every one of `mib` MiB, `times` over, must
/// have been right.
pub fn all_right(output: &Output, mib: u64, times: u64) -> Result<Verified> {
    let verified: Verified = report(output)?;
    ensure!(
        verified.corrupt_bytes == 0 && verified.missing == 0,
        "{} corrupt bytes, {} missing values, the first at {:?}",
        verified.corrupt_bytes,
        verified.missing,
        verified.corrupt
    );
    ensure!(
        verified.bytes_verified == (mib << 20) * times && output.status.success(),
        "{} bytes verified instead of {} times {mib} MiB",
        verified.bytes_verified,
        times
    );
    Ok(verified)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(code: i32, stdout: &str) -> Output {
        Output {
            status: ExitStatus::Code(code),
            stdout: stdout.as_bytes().to_vec(),
            stderr: b"why\n".to_vec(),
        }
    }

    const RIGHT: &str =
        r#"{"bytes_verified":1048576,"corrupt":[],"corrupt_bytes":0,"seconds":1.5}"#;

    #[test]
    fn a_right_report_is_accepted_only_for_its_size() {
        assert!(all_right(&output(0, RIGHT), 1, 1).is_ok());
        assert!(all_right(&output(0, RIGHT), 1, 2).is_err());
    }

    #[test]
    fn corrupt_bytes_and_failed_checks_are_told_apart() {
        let wrong = RIGHT.replace(r#""corrupt_bytes":0"#, r#""corrupt_bytes":1"#);
        let verified: Verified = report(&output(1, &wrong)).expect("a report");
        assert_eq!(verified.corrupt_bytes, 1);
        let error = all_right(&output(1, &wrong), 1, 1).expect_err("corrupt");
        assert!(error.to_string().starts_with("1 corrupt bytes"), "{error}");
        let error = report::<Verified>(&output(2, "")).expect_err("no check");
        assert!(error.to_string().contains("exit status 2"), "{error}");
        assert!(error.to_string().contains("why"), "{error}");
    }
}
