//! What joins the nodes: `profiles/NAME.toml` of this checkout.

mod host;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::Ipv4Addr;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rapidswap_kernel::Variant;
use serde::{Deserialize, Serialize};

use crate::error::{Error, IoContext, Result};
pub use host::Ssh;

/// The name of the node that swaps.
pub const CLIENT: &str = "client";

/// The name of the first node that has memory, and what those of the others
/// begin with.
pub const SERVER: &str = "server";

/// Where the profiles are.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../profiles");

/// The nodes and what joins them; `profiles/README.md` describes the keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// How many times as long as between adapters things may take.
    pub time_scale: NonZeroU32,
    /// The kernel that the nodes run unless another is asked for.
    #[serde(default)]
    pub kernel: Variant,
    /// What joins the nodes.
    pub link: ProfileLink,
    /// The nodes.
    pub node: ProfileNodes,
    /// Tests that cannot be had with such nodes, and why not.
    #[serde(default)]
    pub skip: BTreeMap<String, String>,
}

/// What joins the nodes of a [`Profile`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileLink {
    /// The kind of RDMA device, as `rxe-setup link --kind` takes it.
    pub kind: String,
    /// The network device under it, where a node does not say otherwise.
    pub netdev: String,
    /// Its MTU in bytes; left as it is where there is none.
    pub mtu: Option<u16>,
    /// The port that the memory server listens on.
    pub port: NonZeroU16,
}

/// The nodes of a [`Profile`], by what they do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileNodes {
    /// The one that swaps.
    pub client: ProfileNode,
    /// The one that has the memory.
    pub server: ProfileNode,
}

/// One node of a [`Profile`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileNode {
    /// Its address on the link.
    pub address: Address,
    /// How it is reached if it is a host; otherwise it is a virtual machine.
    pub ssh: Option<Ssh>,
    /// Its network device under the link, if that is not the link's.
    pub netdev: Option<String>,
    /// Its RDMA device, if the network device does not tell which it is.
    pub device: Option<String>,
    /// The block device that a host swaps to, all of which is overwritten; a
    /// file is made where there is none.
    pub disk: Option<PathBuf>,
}

impl Profile {
    /// The nodes of a cluster with that many servers: the client first, and
    /// further servers at the addresses that follow the first one's.
    pub fn nodes(&self, servers: u32) -> Result<Vec<(String, Address)>> {
        let mut nodes = vec![(CLIENT.to_owned(), self.node.client.address)];
        let first = self.node.server.address;
        for index in 0..servers {
            let name = match index {
                0 => SERVER.to_owned(),
                _ => format!("{SERVER}{}", index + 1),
            };
            let address = first
                .following(index)
                .filter(|address| !nodes.iter().any(|(_, taken)| taken.ip == address.ip));
            let address = address.ok_or_else(|| {
                Error::BadOption(format!(
                    "no address after {first} is free for {name}: use fewer --servers, or another network in the profile"
                ))
            })?;
            nodes.push((name, address));
        }
        Ok(nodes)
    }
}

/// An address and the length of its network's prefix, as in `10.77.0.1/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    /// The address alone.
    pub ip: Ipv4Addr,
    /// The length of the prefix.
    pub prefix: u8,
}

impl Address {
    /// The address that many places further in the same network, unless it is
    /// that of all its hosts.
    fn following(self, places: u32) -> Option<Address> {
        let hosts = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
        let bits = self.ip.to_bits();
        let next = bits.checked_add(places)?;
        let same = bits & !hosts == next & !hosts;
        let all = places > 0 && next & hosts == hosts;
        (same && !all).then_some(Address {
            ip: Ipv4Addr::from_bits(next),
            prefix: self.prefix,
        })
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Address, String> {
        let parsed = text.split_once('/').and_then(|(ip, prefix)| {
            let (ip, prefix) = (ip.parse().ok()?, prefix.parse().ok()?);
            (prefix <= 32).then_some(Address { ip, prefix })
        });
        parsed.ok_or_else(|| format!("`{text}` is not an IPv4 address like 10.77.0.1/24"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        address.to_string()
    }
}

impl Profile {
    /// Reads the profile of that name, or in that file if it is a path to a
    /// `.toml` one.
    pub fn load(name: &str) -> Result<Profile> {
        let path = Path::new(name);
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            return read(path, name);
        }
        let known = names()?;
        // Not a name from outside the folder either, such as `../x`.
        if !known.iter().any(|known| known == name) {
            return Err(Error::BadOption(format!(
                "no profile named `{name}`: use {}",
                known.join(", ")
            )));
        }
        let path = Path::new(FOLDER).join(format!("{name}.toml"));
        read(&path, &format!("profiles/{name}.toml"))
    }

    /// All there are, by name.
    pub fn names() -> Result<Vec<String>> {
        names()
    }

    /// What it says of the node of that name.
    pub fn of(&self, node: &str) -> Option<&ProfileNode> {
        match node {
            "client" => Some(&self.node.client),
            "server" => Some(&self.node.server),
            _ => None,
        }
    }

    /// The network device of the node of that name.
    pub fn netdev(&self, node: &str) -> &str {
        let own = self.of(node).and_then(|node| node.netdev.as_deref());
        own.unwrap_or(&self.link.netdev)
    }

    /// A limit that is right between adapters, as long as it has to be here.
    pub(crate) fn scaled(&self, limit: Duration) -> Duration {
        limit * self.time_scale.get()
    }

    /// An expression of nextest's for the tests that are not left out.
    pub fn filter(&self) -> String {
        if self.skip.is_empty() {
            return "all()".to_owned();
        }
        let tests = self.skip.keys().map(|name| match name.ends_with("::") {
            true => format!("test(/^{name}/)"),
            false => format!("test(={name})"),
        });
        let tests: Vec<String> = tests.collect();
        format!("not ({})", tests.join(" + "))
    }

    /// Whether the nodes are hosts.
    pub fn is_hosts(&self) -> bool {
        self.node.client.ssh.is_some()
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Profile { link, node, .. } = self;
        let mtu = link
            .mtu
            .map_or("as it is".to_owned(), |mtu| mtu.to_string());
        writeln!(f, "kernel   {}", self.kernel)?;
        writeln!(f, "link     {}, MTU {mtu}, port {}", link.kind, link.port)?;
        writeln!(
            f,
            "times    {} times those between adapters",
            self.time_scale
        )?;
        for (name, node) in [("client", &node.client), ("server", &node.server)] {
            let what = match &node.ssh {
                Some(ssh) => format!("a host, by ssh {}", ssh.words().join(" ")),
                None => "a virtual machine".to_owned(),
            };
            let netdev = self.netdev(name);
            write!(f, "{name:<8} {what}; {} on {netdev}", node.address)?;
            match &node.device {
                Some(device) => writeln!(f, ", {device}")?,
                None => writeln!(f)?,
            }
        }
        write!(
            f,
            "skipped  {}",
            if self.skip.is_empty() { "no test" } else { "" }
        )?;
        for (test, reason) in &self.skip {
            write!(f, "\n  {test}: {reason}")?;
        }
        Ok(())
    }
}

fn read(path: &Path, shown: &str) -> Result<Profile> {
    let text = fs::read_to_string(path).what(|| format!("cannot read {}", path.display()))?;
    let profile = parse(shown, &text)?;
    let problem = host::problem(&profile);
    problem.map_or(Ok(profile), |problem| {
        Err(Error::BadOption(format!("{shown}: {problem}")))
    })
}

fn parse(shown: &str, text: &str) -> Result<Profile> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.bytes().take(start).filter(|&b| b == b'\n').count() + 1;
        let problem: Vec<&str> = error.message().lines().collect();
        Error::BadOption(format!("{shown}, line {line}: {}", problem.join("; ")))
    })
}

/// The names of all profiles, in order.
fn names() -> Result<Vec<String>> {
    let problem = || format!("cannot read {FOLDER}");
    let mut names = Vec::new();
    for entry in fs::read_dir(FOLDER).what(problem)? {
        let file = entry.what(problem)?.file_name();
        let name = file.to_str().and_then(|file| file.strip_suffix(".toml"));
        names.extend(name.map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../profiles/rxe.toml");

    #[test]
    fn the_shipped_profile_is_two_vms_on_soft_roce() {
        let Profile { link, node, .. } = Profile::load("rxe").expect("shipped");
        assert_eq!((link.kind.as_str(), link.netdev.as_str()), ("rxe", "eth0"));
        assert_eq!((link.mtu, link.port.get()), (Some(4200), 9400));
        assert_eq!(node.client.address.to_string(), "10.77.0.1/24");
        assert_eq!(node.server.address.ip, Ipv4Addr::new(10, 77, 0, 2));
    }

    #[test]
    fn tests_that_are_left_out_are_named() {
        let filter = |name: &str| Profile::load(name).expect(name).filter();
        assert_eq!(filter("rxe"), "all()");
        let siw = filter("siw");
        assert!(siw.starts_with("not (test(=batches::neighbours"), "{siw}");
        assert!(siw.ends_with(" + test(/^local_drops::/))"), "{siw}");
        // What a host cannot do does not depend on its card.
        let skip = |name: &str| Profile::load(name).expect(name).skip;
        assert_eq!(skip("mlx4"), skip("mlx5"));
    }

    #[test]
    fn cards_are_in_hosts_on_their_own_kernel() {
        for name in ["mlx4", "mlx5"] {
            let profile = Profile::load(name).expect(name);
            assert!(profile.is_hosts() && profile.time_scale.get() == 1);
            assert_eq!(profile.kernel, Variant::Host);
            assert_eq!(profile.link.kind, "existing");
            for node in [&profile.node.client, &profile.node.server] {
                assert_eq!(node.device.as_deref(), Some(&*format!("{name}_0")));
            }
        }
    }

    #[test]
    fn further_servers_follow_the_first() {
        let profile = Profile::load("rxe").expect("shipped");
        let nodes = profile.nodes(3).expect("room");
        let said: Vec<_> = nodes
            .iter()
            .map(|(name, at)| format!("{name} {at}"))
            .collect();
        let expected = [
            "client 10.77.0.1/24",
            "server 10.77.0.2/24",
            "server2 10.77.0.3/24",
            "server3 10.77.0.4/24",
        ];
        assert_eq!(said, expected);
        let small = SHIPPED.replace("/24", "/29");
        let small = parse("x", &small).expect("as good");
        assert_eq!(small.nodes(5).expect("room").len(), 6);
        let error = small.nodes(6).expect_err("full").to_string();
        assert!(
            error.starts_with("no address after 10.77.0.2/29 is free for server6"),
            "{error}"
        );
        let before = SHIPPED.replace("10.77.0.1/24", "10.77.0.3/24");
        assert!(parse("x", &before).expect("as good").nodes(2).is_err());
    }

    #[test]
    fn an_unknown_profile_names_those_that_exist() {
        for name in ["mlx6", "", "../profiles/rxe"] {
            let error = Profile::load(name).expect_err("refused").to_string();
            let known = "mlx4, mlx5, rxe, siw";
            assert_eq!(error, format!("no profile named `{name}`: use {known}"));
        }
    }

    #[test]
    fn a_malformed_profile_is_one_line_with_its_number() {
        let wrong = |from: &str, to: &str| {
            let text = SHIPPED.replacen(from, to, 1);
            parse("x.toml", &text).expect_err("refused").to_string()
        };
        let error = wrong("kind", "colour = 1\nkind");
        assert!(
            error.starts_with("x.toml, line 8: unknown field `colour`"),
            "{error}"
        );
        for (from, to, expected) in [
            ("9400", "0", "invalid value"),
            ("4200", "\"large\"", "invalid type"),
            ("[node.server]", "[node.third]", "unknown field `third`"),
            ("[node.server]", "[[", "invalid"),
            ("port = 9400", "", "missing field `port`"),
            ("time_scale = 4", "time_scale = 0", "invalid value"),
            ("10.77.0.2/24", "10.77.0.2/33", "is not an IPv4 address"),
        ] {
            let error = wrong(from, to);
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
