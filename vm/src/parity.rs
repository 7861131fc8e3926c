//! What both ends' devices offer, against what module and server ask of any.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::cluster::node::Node;
use crate::cluster::profile::Profile;
use crate::error::{Error, Result};
use crate::link::RXE_SETUP;

/// A limit that is to be taken for lower than it is, to see what would be
/// amiss: `server:max_qp_rd_atom=8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cap {
    node: String,
    limit: String,
}

impl std::str::FromStr for Cap {
    type Err = Error;

    fn from_str(text: &str) -> Result<Cap> {
        match text.split_once(':') {
            Some((node, limit)) if limit.contains('=') => Ok(Cap {
                node: node.to_owned(),
                limit: limit.to_owned(),
            }),
            _ => Err(Error::BadOption(format!(
                "`{text}` is no limit of a node: write one as server:max_qp_rd_atom=8"
            ))),
        }
    }
}

/// The limits of the devices of all nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parity {
    /// The nodes, each with its device.
    pub ends: Vec<End>,
    /// Each limit.
    pub limits: Vec<Limit>,
    /// Whether all ends offer all that is needed.
    pub ok: bool,
}

/// One node of a [`Parity`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct End {
    /// Its name.
    pub node: String,
    /// Its RDMA device.
    pub device: String,
}

/// One line of a [`Parity`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// The attribute's name in libibverbs.
    pub attribute: String,
    /// What each node's device offers, in the order of the ends.
    pub offered: Vec<u64>,
    /// What all of them offer.
    pub common: u64,
    /// What module and server ask for, and never go beyond.
    pub needed: u64,
    /// What for.
    pub why: String,
    /// Whether all offer it.
    pub ok: bool,
}

/// What `rxe-setup parity --json` says of one device.
#[derive(Debug, Deserialize)]
struct Report {
    device: String,
    attributes: Vec<Line>,
}

#[derive(Debug, Deserialize)]
struct Line {
    attribute: String,
    here: u64,
    needed: u64,
    why: String,
}

impl Cluster {
    /// Asks the devices of all nodes what they offer.
    pub fn parity(&self, caps: &[Cap]) -> Result<Parity> {
        let profile = self.status()?.profile;
        for cap in caps {
            self.node(&cap.node)?;
        }
        let nodes = self.nodes()?;
        let ask = |node: &Node| {
            let caps = caps.iter().filter(|cap| cap.node == node.name());
            Ok((node.name().to_owned(), report(node, &profile, caps)?))
        };
        let reports = nodes.iter().map(ask).collect::<Result<Vec<_>>>()?;
        Ok(compare(reports))
    }
}

fn report<'a>(
    node: &Node,
    profile: &Profile,
    caps: impl Iterator<Item = &'a Cap>,
) -> Result<Report> {
    let mut argv = vec![RXE_SETUP.to_owned(), "parity".into(), "--json".into()];
    let device = profile.of(node.name()).and_then(|end| end.device.as_ref());
    argv.extend(device.map(|device| format!("--device={device}")));
    argv.extend(caps.map(|cap| format!("--cap={}", cap.limit)));
    let what = "asking for the device's limits";
    let output = node.step(what, move |node| node.exec(argv))?;
    // One that offers too little is reported all the same.
    let mut reports: Vec<Report> = serde_json::from_slice(&output.stdout).unwrap_or_default();
    if reports.is_empty() {
        return Err(Error::Step {
            what: what.into(),
            node: node.name().into(),
            detail: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    Ok(reports.swap_remove(0))
}

fn compare(reports: Vec<(String, Report)>) -> Parity {
    let first = reports
        .first()
        .map_or(&[][..], |(_, report)| &report.attributes);
    let limit = |line: &Line| {
        let of = |report: &Report| {
            let mut lines = report.attributes.iter();
            let same = lines.find(|other| other.attribute == line.attribute);
            same.map_or(0, |line| line.here)
        };
        let offered: Vec<u64> = reports.iter().map(|(_, report)| of(report)).collect();
        let common = offered.iter().copied().min().unwrap_or(0);
        Limit {
            attribute: line.attribute.clone(),
            offered,
            common,
            needed: line.needed,
            why: line.why.clone(),
            ok: common >= line.needed,
        }
    };
    let limits: Vec<Limit> = first.iter().map(limit).collect();
    Parity {
        ok: limits.iter().all(|limit| limit.ok),
        limits,
        ends: reports
            .into_iter()
            .map(|(node, report)| End {
                node,
                device: report.device,
            })
            .collect(),
    }
}

impl fmt::Display for Parity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<20}", "")?;
        for end in &self.ends {
            write!(f, " {:>20}", format!("{} {}", end.node, end.device))?;
        }
        write!(f, " {:>20} {:>9}  FOR", "BOTH", "NEEDED")?;
        for limit in &self.limits {
            write!(f, "\n{:<20}", limit.attribute)?;
            for offered in limit.offered.iter().chain([&limit.common]) {
                write!(f, " {offered:>20}")?;
            }
            let mark = if limit.ok { "" } else { "  TOO LOW" };
            write!(f, " {:>9}  {}{mark}", limit.needed, limit.why)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(node: &str, depth: u64) -> (String, Report) {
        let text = format!(
            r#"{{"device": "rxe0", "vendor_part_id": 0, "ok": true, "attributes": [
                {{"attribute": "max_qp_rd_atom", "here": {depth}, "mlx4": "16", "mlx5": "16",
                  "needed": 16, "why": "READs", "ok": true}},
                {{"attribute": "max_mr_size", "here": {}, "mlx4": "all", "mlx5": "all",
                  "needed": 16777216, "why": "bytes", "ok": true}}]}}"#,
            u64::MAX
        );
        (
            node.to_owned(),
            serde_json::from_str(&text).expect("a report"),
        )
    }

    #[test]
    fn the_lower_end_decides() {
        let parity = compare(vec![end("client", 128), end("server", 16)]);
        assert!(parity.ok);
        assert_eq!(
            (parity.limits[0].common, parity.limits[1].common),
            (16, u64::MAX)
        );
        let poor = compare(vec![end("client", 128), end("server", 8)]);
        assert!(!poor.ok && poor.limits[1].ok);
        assert_eq!(poor.limits[0].offered, [128, 8]);
        let text = poor.to_string();
        let low: Vec<&str> = text
            .lines()
            .filter(|line| line.ends_with("TOO LOW"))
            .collect();
        assert!(
            low.len() == 1 && low[0].starts_with("max_qp_rd_atom"),
            "{text}"
        );
    }

    #[test]
    fn caps_are_of_a_node() {
        assert!("server:max_qp=8".parse::<Cap>().is_ok());
        for text in ["max_qp=8", "server:max_qp", ""] {
            assert!(text.parse::<Cap>().is_err(), "{text}");
        }
    }
}
