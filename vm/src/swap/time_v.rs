//! The report of `/usr/bin/time -v`.

use std::time::Duration;

/// What of the report is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeReport {
    /// Wall-clock time.
    pub elapsed: Duration,
    /// Largest resident set, in KiB.
    pub max_resident_kib: u64,
    /// Faults that needed I/O.
    pub major_faults: u64,
    /// Exit status of the command.
    pub exit_status: i32,
}

impl TimeReport {
    /// Finds the report in the standard error of `time -v`, after whatever
    /// the command itself wrote. `None` if a field is missing.
    pub fn parse(stderr: &str) -> Option<TimeReport> {
        let report = &stderr[stderr.rfind("Command being timed:")?..];
        let field = |name: &str| {
            report
                .lines()
                .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "))
        };
        Some(TimeReport {
            elapsed: clock(field("Elapsed (wall clock) time (h:mm:ss or m:ss)")?)?,
            max_resident_kib: field("Maximum resident set size (kbytes)")?.parse().ok()?,
            major_faults: field("Major (requiring I/O) page faults")?.parse().ok()?,
            exit_status: field("Exit status")?.parse().ok()?,
        })
    }
}

/// Parses `h:mm:ss` or `m:ss.ss`.
fn clock(text: &str) -> Option<Duration> {
    let mut seconds = 0.0;
    for part in text.split(':') {
        seconds = seconds * 60.0 + part.parse::<f64>().ok()?;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "a line of the command\n\
\tCommand being timed: \"page-pattern verify\"\n\
\tUser time (seconds): 0.81\n\
\tPercent of CPU this job got: 3%\n\
\tElapsed (wall clock) time (h:mm:ss or m:ss): 1:02.50\n\
\tMaximum resident set size (kbytes): 31768\n\
\tMajor (requiring I/O) page faults: 15992\n\
\tMinor (reclaiming a frame) page faults: 16487\n\
\tExit status: 1\n";

    #[test]
    fn a_report_after_other_output_is_found() {
        let expected = TimeReport {
            elapsed: Duration::from_millis(62_500),
            max_resident_kib: 31_768,
            major_faults: 15_992,
            exit_status: 1,
        };
        assert_eq!(TimeReport::parse(REPORT), Some(expected));
    }

    #[test]
    fn hours_are_understood_and_cut_reports_are_refused() {
        assert_eq!(clock("1:00:01"), Some(Duration::from_secs(3601)));
        assert_eq!(clock("x:01"), None);
        assert_eq!(TimeReport::parse("no report"), None);
        let cut = &REPORT[..REPORT.len() - 20];
        assert_eq!(TimeReport::parse(cut), None);
    }
}
