//! Faults that a cluster is given from outside: what no command in a guest
//! could do as suddenly, or survive doing.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// One fault, or the end of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fault {
    /// A node's cable is pulled, or plugged in again.
    Link {
        /// Whose.
        node: String,
        /// Plugged in.
        up: bool,
    },
    /// This share of all packets on the links is lost.
    Loss(Percent),
    /// Every packet on the links arrives this much later.
    Delay(Duration),
    /// No packet passes between two nodes, in either direction.
    Partition(String, String),
    /// No fault of the links, no paused node.
    Clear,
    /// A node's processors stop.
    Pause(String),
    /// A paused node's processors go on.
    Resume(String),
    /// A node's machine ends at once, and does not come back; with a host only
    /// the connection ends.
    Kill(String),
    /// A node's machine is reset and boots again.
    Reset(String),
}

/// What is wrong with the links just now; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkFaults {
    /// The share of packets that is lost.
    pub loss: Percent,
    /// How much later packets arrive.
    pub delay: Duration,
    /// Pairs of nodes between which nothing passes, each in order.
    pub partitions: BTreeSet<(String, String)>,
}

impl LinkFaults {
    /// Whether packets pass as if there were nothing between the nodes.
    pub fn is_none(&self) -> bool {
        *self == LinkFaults::default()
    }

    /// Separates two nodes.
    pub fn part(&mut self, a: &str, b: &str) {
        let (a, b) = if a <= b { (a, b) } else { (b, a) };
        self.partitions.insert((a.to_owned(), b.to_owned()));
    }

    /// Whether two nodes are separated.
    pub fn parted(&self, a: &str, b: &str) -> bool {
        let is =
            |pair: &(String, String)| (pair.0 == a && pair.1 == b) || (pair.0 == b && pair.1 == a);
        self.partitions.iter().any(is)
    }
}

impl fmt::Display for LinkFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = Vec::new();
        if self.loss != Percent::default() {
            said.push(format!("loss {}", self.loss));
        }
        if !self.delay.is_zero() {
            said.push(format!("delay {:?}", self.delay));
        }
        said.extend(
            self.partitions
                .iter()
                .map(|(a, b)| format!("no packet between {a} and {b}")),
        );
        if said.is_empty() {
            said.push("no fault".into());
        }
        f.write_str(&said.join(", "))
    }
}

/// A share from 0 to 100 %, in ten-thousandths of a percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Percent(u32);

impl Percent {
    const ONE: u32 = 10_000;

    /// As a share of 1.
    pub fn share(self) -> f64 {
        f64::from(self.0) / f64::from(100 * Percent::ONE)
    }
}

impl FromStr for Percent {
    type Err = Error;

    /// `1%`, `0.5%`, or the same without the sign.
    fn from_str(text: &str) -> Result<Percent, Error> {
        let number = text.strip_suffix('%').unwrap_or(text);
        let plain = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        match number.parse::<f64>() {
            Ok(value) if plain && value <= 100.0 => {
                Ok(Percent((value * f64::from(Percent::ONE)).round() as u32))
            }
            _ => Err(Error::BadOption(format!(
                "`{text}` is not a share of packets: write 0% to 100%, such as 0.5%"
            ))),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(self.0) / f64::from(Percent::ONE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shares_are_read_as_written() {
        for (text, share) in [("1%", 0.01), ("0.5%", 0.005), ("100", 1.0), ("0%", 0.0)] {
            assert_eq!(text.parse::<Percent>().expect(text).share(), share);
        }
        for text in ["", "%", "-1%", "101%", "1 %", "inf", "nan", "1e1", "half"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_partition_has_no_direction() {
        let mut faults = LinkFaults::default();
        faults.part("server", "client");
        faults.part("client", "server");
        assert!(faults.parted("client", "server") && faults.parted("server", "client"));
        assert!(!faults.parted("client", "server2") && !faults.is_none());
        assert_eq!(faults.to_string(), "no packet between client and server");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let faults = LinkFaults {
            loss: "0.5%".parse().expect("a share"),
            delay: Duration::from_millis(5),
            ..LinkFaults::default()
        };
        assert_eq!(faults.to_string(), "loss 0.5 %, delay 5ms");
        assert_eq!(LinkFaults::default().to_string(), "no fault");
    }

    proptest! {
        #[test]
        fn any_text_is_a_share_or_one_line(text in ".{0,12}") {
            match text.parse::<Percent>() {
                Ok(share) => prop_assert!((0.0..=1.0).contains(&share.share())),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}
