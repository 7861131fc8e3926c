//! Nodes that are hosts.

use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::Profile;
use crate::error::{Error, Result};

/// ssh asks nobody anything, and does not wait for a host that is not there.
const OPTIONS: [&str; 4] = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=10"];

/// How ssh itself ends where it did not come through.
const UNREACHED: i32 = 255;

/// What `ssh` is given to reach a host: `"root@host"`, or a list with options
/// of ssh before it. Everything else is left to ssh's own configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Vec<String>")]
pub struct Ssh(Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    One(String),
    Several(Vec<String>),
}

impl TryFrom<Written> for Ssh {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Ssh, Self::Error> {
        let words = match written {
            Written::One(word) => vec![word],
            Written::Several(words) => words,
        };
        match words.last() {
            Some(last) if !last.is_empty() && !last.starts_with('-') => Ok(Ssh(words)),
            _ => Err("ssh ends with a host, such as \"root@host\" or [\"-p\", \"22\", \"host\"]"),
        }
    }
}

impl From<Ssh> for Vec<String> {
    fn from(ssh: Ssh) -> Vec<String> {
        ssh.0
    }
}

impl Profile {
    /// Looks whether each of its hosts is reached from here; if not, what wants
    /// them is to be skipped.
    pub fn reach(&self) -> Result<()> {
        for (name, node) in [("client", &self.node.client), ("server", &self.node.server)] {
            if let Some(ssh) = &node.ssh {
                ssh.reach()
                    .map_err(|reason| Error::Skipped(format!("host `{name}`: {reason}")))?;
            }
        }
        Ok(())
    }
}

impl Ssh {
    fn reach(&self) -> Result<(), String> {
        let mut command = Command::new("ssh");
        command.args(OPTIONS).args(&self.0).args(["--", "true"]);
        let output = command.stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("ssh cannot be started: {error}"))?;
        if output.status.code() == Some(UNREACHED) {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().last().unwrap_or("ssh does not say why");
            return Err(format!("no ssh {}: {}", self.0.join(" "), said.trim()));
        }
        Ok(())
    }

    /// Its arguments, the host last.
    pub fn words(&self) -> &[String] {
        &self.0
    }
}

/// What is wrong with a profile as a whole, and what to do.
pub(super) fn problem(profile: &Profile) -> Option<String> {
    let nodes = [
        ("client", &profile.node.client),
        ("server", &profile.node.server),
    ];
    if nodes[0].1.ssh.is_some() != nodes[1].1.ssh.is_some() {
        return Some("one node has ssh and the other has not: give it to both or none".into());
    }
    for (name, node) in nodes {
        if node.ssh.is_none() && (node.device.is_some() || node.disk.is_some()) {
            return Some(format!(
                "node.{name} has device or disk, which only a host has: give ssh too"
            ));
        }
        let netdev = profile.netdev(name);
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if netdev.is_empty() || !netdev.chars().all(plain) {
            return Some(format!("`{netdev}` is not a network device"));
        }
        if node.disk.as_ref().is_some_and(|disk| !disk.is_absolute()) {
            return Some(format!(
                "node.{name}.disk is the path of a device, such as /dev/nvme0n1p3"
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    const HOSTS: &str = r#"
        time_scale = 1
        [link]
        kind = "existing"
        netdev = "ib0"
        port = 9400
        [node.client]
        ssh = "root@one"
        address = "10.77.0.1/24"
        disk = "/dev/sdb"
        [node.server]
        ssh = ["-p", "2222", "root@two"]
        netdev = "ib1"
        address = "10.77.0.2/24"
    "#;

    #[test]
    fn hosts_are_reached_by_ssh() {
        let profile = parse("x", HOSTS).expect("right");
        assert_eq!(problem(&profile), None);
        assert!(profile.is_hosts());
        let words = |node: &str| profile.of(node).and_then(|node| node.ssh.clone());
        assert_eq!(words("client").expect("host").words(), ["root@one"]);
        let server = words("server").expect("host");
        assert_eq!(server.words(), ["-p", "2222", "root@two"]);
        assert_eq!(
            (profile.netdev("client"), profile.netdev("server")),
            ("ib0", "ib1")
        );
    }

    #[test]
    fn what_does_not_go_together_is_said() {
        for (from, to, expected) in [
            ("ssh = \"root@one\"", "", "one node has ssh"),
            ("/dev/sdb", "sdb", "is the path of a device"),
            (
                "netdev = \"ib1\"",
                "netdev = \"a b\"",
                "`a b` is not a network device",
            ),
        ] {
            let profile = parse("x", &HOSTS.replacen(from, to, 1)).expect("parses");
            let said = problem(&profile).expect("wrong");
            assert!(said.contains(expected), "{said}");
        }
        for ssh in ["\"\"", "[]", "[\"root@one\", \"-v\"]"] {
            let text = HOSTS.replacen("\"root@one\"", ssh, 1);
            let error = parse("x", &text).expect_err("no host").to_string();
            assert!(error.contains("ssh ends with a host"), "{error}");
        }
    }
}
