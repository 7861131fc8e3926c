//! `rxe-setup parity`: this device beside those it stands in for.

use std::fmt;

use anyhow::{Result, bail};
use rapidswap_cli::print;
use rapidswap_verbs::{DeviceAttributes, devices};
use serde::Serialize;

/// An attribute that the module or the server depends on. The columns of mlx4
/// (ConnectX-3) and mlx5 (ConnectX-4) are what `ibv_devinfo -v` prints there.
struct Row {
    name: &'static str,
    here: fn(&DeviceAttributes) -> i128,
    mlx4: &'static str,
    mlx5: &'static str,
    /// What the code asks of a device and never goes beyond.
    needed: i128,
    why: &'static str,
}

const ROWS: [Row; 9] = [
    Row {
        name: "max_qp_rd_atom",
        here: |a| a.max_qp_rd_atom.into(),
        mlx4: "16",
        mlx5: "16",
        needed: 16,
        why: "READs outstanding towards one queue pair",
    },
    Row {
        name: "max_qp_init_rd_atom",
        here: |a| a.max_qp_init_rd_atom.into(),
        mlx4: "128",
        mlx5: "16",
        needed: 16,
        why: "READs outstanding from one queue pair",
    },
    Row {
        name: "max_sge",
        here: |a| a.max_sge.into(),
        mlx4: "32",
        mlx5: "30",
        needed: 1,
        why: "pieces of a work request",
    },
    Row {
        name: "max_sge_rd",
        here: |a| a.max_sge_rd.into(),
        mlx4: "30",
        mlx5: "30",
        needed: 1,
        why: "pieces of a READ",
    },
    Row {
        name: "max_qp_wr",
        here: |a| a.max_qp_wr.into(),
        mlx4: "16351",
        mlx5: "32768",
        needed: 1024,
        why: "requests queued on one queue pair",
    },
    Row {
        name: "max_cqe",
        here: |a| a.max_cqe.into(),
        mlx4: "4194303",
        mlx5: "4194303",
        needed: 2048,
        why: "completions of all its requests",
    },
    Row {
        name: "max_qp",
        here: |a| a.max_qp.into(),
        mlx4: "393152",
        mlx5: "262144",
        needed: 16,
        why: "two for each client, more in change-over",
    },
    Row {
        name: "max_mr",
        here: |a| a.max_mr.into(),
        mlx4: "524032",
        mlx5: "16777216",
        needed: 1024,
        why: "one for each chunk of memory",
    },
    Row {
        name: "max_mr_size",
        here: |a| a.max_mr_size.into(),
        mlx4: "all",
        mlx5: "all",
        needed: 16 << 20,
        why: "bytes of a chunk",
    },
];

/// What soft devices do that adapters do not: no attribute shows it.
const HIDDEN: [&str; 4] = [
    "inline sends: soft devices have them, mlx4 refuses them to the kernel: never used",
    "DMA mapping: soft devices ignore it, adapters need each map, sync and unmap",
    "fences: rxe always waits for earlier requests, adapters only where asked",
    "soft-RoCE is RoCE v2 on Ethernet only; mlx4 may be RoCE v1 or InfiniBand: leave it to rdma_cm",
];

#[derive(Debug, Serialize)]
struct Line {
    attribute: &'static str,
    here: i128,
    mlx4: &'static str,
    mlx5: &'static str,
    needed: i128,
    why: &'static str,
    ok: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    device: String,
    vendor_part_id: u32,
    ok: bool,
    attributes: Vec<Line>,
}

/// Prints the report; an error if a device is below a limit. A device offers
/// no more of an attribute than `caps` say.
pub fn run(wanted: Option<&str>, json: bool, caps: &[(String, u64)]) -> Result<()> {
    if let Some((name, _)) = caps
        .iter()
        .find(|cap| ROWS.iter().all(|row| row.name != cap.0))
    {
        let names = ROWS.map(|row| row.name).join(", ");
        bail!("no attribute {name}: there are {names}");
    }
    let mut reports = Vec::new();
    for device in devices()? {
        if wanted.is_none_or(|name| name == device.name()) {
            reports.push(report(device.name(), &device.attributes()?, caps));
        }
    }
    if reports.is_empty() {
        match wanted {
            Some(name) => bail!("no RDMA device {name}: `rdma link` shows those there are"),
            None => bail!("no RDMA device: bring one up with `rxe-setup link`, or load its driver"),
        }
    }
    if json {
        print(serde_json::to_string(&reports)?)?;
    } else {
        reports.iter().try_for_each(print)?;
    }
    match reports.iter().find(|report| !report.ok) {
        Some(report) => bail!("{} offers less than is needed", report.device),
        None => Ok(()),
    }
}

fn report(device: &str, attributes: &DeviceAttributes, caps: &[(String, u64)]) -> Report {
    let lines: Vec<Line> = ROWS
        .iter()
        .map(|row| {
            let Row {
                name,
                mlx4,
                mlx5,
                needed,
                why,
                ..
            } = *row;
            let capped = caps.iter().filter(|cap| cap.0 == name);
            let here = capped
                .map(|cap| i128::from(cap.1))
                .fold((row.here)(attributes), i128::min);
            Line {
                attribute: name,
                here,
                mlx4,
                mlx5,
                needed,
                why,
                ok: here >= needed,
            }
        })
        .collect();
    Report {
        device: device.to_owned(),
        vendor_part_id: attributes.vendor_part_id,
        ok: lines.iter().all(|line| line.ok),
        attributes: lines,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<20} {:>20} {:>9} {:>9} {:>9}",
            self.device, "here", "mlx4", "mlx5", "needed"
        )?;
        for line in &self.attributes {
            let mark = if line.ok { "" } else { "  TOO LOW" };
            write!(
                f,
                "\n{:<20} {:>20} {:>9} {:>9} {:>9}  {}{mark}",
                line.attribute, line.here, line.mlx4, line.mlx5, line.needed, line.why
            )?;
        }
        HIDDEN.iter().try_for_each(|note| write!(f, "\n  {note}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RXE: DeviceAttributes = DeviceAttributes {
        vendor_id: 0xff_ffff,
        vendor_part_id: 0,
        max_mr_size: u64::MAX,
        max_mr: 0x7fff,
        max_qp: 0xf_ffff,
        max_qp_wr: 0x10_0000,
        max_sge: 32,
        max_sge_rd: 32,
        max_cq: 0xf_ffff,
        max_cqe: 32767,
        max_pd: 0xf_ffff,
        max_qp_rd_atom: 128,
        max_qp_init_rd_atom: 128,
        max_srq: 0xf_ffff,
    };

    #[test]
    fn soft_roce_is_enough_and_half_of_it_is_not() {
        assert!(report("rxe0", &RXE, &[]).ok);
        let poor = DeviceAttributes {
            max_qp_rd_atom: 8,
            ..RXE
        };
        for report in [
            report("poor", &poor, &[]),
            report("capped", &RXE, &[("max_qp_rd_atom".to_owned(), 8)]),
        ] {
            assert!(!report.ok);
            let low: Vec<_> = report
                .attributes
                .iter()
                .filter(|l| !l.ok)
                .map(|l| (l.attribute, l.here))
                .collect();
            assert_eq!(low, [("max_qp_rd_atom", 8)]);
        }
        // More than there is cannot be had.
        let generous = [("max_sge".to_owned(), 64)];
        assert_eq!(report("rxe0", &RXE, &generous).attributes[2].here, 32);
    }

    #[test]
    fn needs_are_within_what_the_adapters_have() {
        for row in &ROWS {
            for have in [row.mlx4, row.mlx5] {
                if let Ok(have) = have.parse::<i128>() {
                    assert!(row.needed <= have, "{}", row.name);
                }
            }
        }
    }
}
