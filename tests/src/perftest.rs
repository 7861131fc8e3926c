//! Results of perftest's `ib_read_lat` and `ib_write_bw`.

/// Median time of one operation in microseconds (column `t_typical[usec]`).
pub fn typical_latency_us(output: &str) -> Option<f64> {
    // #bytes #iterations t_min t_max t_typical …
    row(output, "t_typical[usec]")?.get(4).copied()
}

/// Average rate in MiB/s (column `BW average[MiB/sec]`; releases before the
/// unit was corrected call the same number MB).
pub fn average_mib_per_second(output: &str) -> Option<f64> {
    // #bytes #iterations peak average …
    let row = row(output, "BW average[MiB/sec]").or_else(|| row(output, "BW average[MB/sec]"))?;
    row.get(3).copied()
}

/// The numbers of the line under the heading that has `column`.
fn row(output: &str, column: &str) -> Option<Vec<f64>> {
    let mut lines = output
        .lines()
        .skip_while(|line| !(line.trim_start().starts_with("#bytes") && line.contains(column)));
    lines.next()?;
    let numbers: Vec<f64> = lines
        .map(|line| {
            line.split_whitespace()
                .map_while(|word| word.parse().ok())
                .collect::<Vec<f64>>()
        })
        .find(|numbers| numbers.len() >= 4)?;
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: &str = "\
---------------------------------------------------------------------------------------
                    RDMA_Read Latency Test
 Dual-port       : OFF\t\tDevice         : rxe0
 remote address: LID 0000 QPN 0x0011 PSN 0x10d3b4 OUT 0x10 RKey 0x000a2f VAddr 0x0055d0
---------------------------------------------------------------------------------------
 #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]    t_stdev[usec]   99% percentile[usec]   99.9% percentile[usec]
Conflicting CPU frequency values detected: 2400.000000 != 3000.000000. CPU Frequency is not max.
 4096    1000          1010.11        5200.70      1301.86     \t1350.87     \t60.06   \t\t2000.06 \t\t5200.70
---------------------------------------------------------------------------------------
";

    const BANDWIDTH: &str = "\
 #bytes     #iterations    BW peak[MiB/sec]    BW average[MiB/sec]   MsgRate[Mpps]
 4096       2000             11.94              11.21  \t\t     0.002870
";

    #[test]
    fn the_median_is_the_fifth_number() {
        assert_eq!(typical_latency_us(LATENCY), Some(1301.86));
    }

    #[test]
    fn the_average_rate_is_the_fourth_number_under_either_unit() {
        assert_eq!(average_mib_per_second(BANDWIDTH), Some(11.21));
        let old = BANDWIDTH.replace("MiB/sec", "MB/sec");
        assert_eq!(average_mib_per_second(&old), Some(11.21));
    }

    #[test]
    fn a_run_that_broke_off_has_no_result() {
        let cut = &LATENCY[..LATENCY.find(" 4096 ").expect("row")];
        assert_eq!(typical_latency_us(cut), None);
        assert_eq!(average_mib_per_second(LATENCY), None);
    }
}
