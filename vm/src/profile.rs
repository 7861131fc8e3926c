//! What joins the nodes: `profiles/NAME.toml` of this checkout.

use std::fmt;
use std::fs;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, IoContext, Result};

/// Where the profiles are.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../profiles");

/// The nodes and what joins them; `profiles/README.md` describes the keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What joins the nodes.
    pub link: ProfileLink,
    /// The nodes.
    pub node: ProfileNodes,
}

/// What joins the nodes of a [`Profile`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileLink {
    /// The kind of RDMA device, as `rxe-setup link --kind` takes it.
    pub kind: String,
    /// The network device under it.
    pub netdev: String,
    /// Its MTU in bytes.
    pub mtu: u16,
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
    /// Reads the profile of that name.
    pub(crate) fn load(name: &str) -> Result<Profile> {
        let known = names()?;
        // Not a name from outside the folder either, such as `../x`.
        if !known.iter().any(|known| known == name) {
            return Err(Error::BadOption(format!(
                "no profile named `{name}`: use {}",
                known.join(", ")
            )));
        }
        let path = Path::new(FOLDER).join(format!("{name}.toml"));
        let text = fs::read_to_string(&path).what(|| format!("cannot read {}", path.display()))?;
        parse(name, &text)
    }
}

fn parse(name: &str, text: &str) -> Result<Profile> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.bytes().take(start).filter(|&b| b == b'\n').count() + 1;
        let problem: Vec<&str> = error.message().lines().collect();
        Error::BadOption(format!(
            "profiles/{name}.toml, line {line}: {}",
            problem.join("; ")
        ))
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

    const SHIPPED: &str = include_str!("../../profiles/rxe.toml");

    #[test]
    fn the_shipped_profile_is_two_vms_on_soft_roce() {
        let Profile { link, node } = Profile::load("rxe").expect("shipped");
        assert_eq!((link.kind.as_str(), link.netdev.as_str()), ("rxe", "eth0"));
        assert_eq!((link.mtu, link.port.get()), (4200, 9400));
        assert_eq!(node.client.address.to_string(), "10.77.0.1/24");
        assert_eq!(node.server.address.ip, Ipv4Addr::new(10, 77, 0, 2));
    }

    #[test]
    fn an_unknown_profile_names_those_that_exist() {
        for name in ["mlx4", "", "../profiles/rxe"] {
            let error = Profile::load(name).expect_err("refused").to_string();
            assert_eq!(error, format!("no profile named `{name}`: use rxe"));
        }
    }

    #[test]
    fn a_malformed_profile_is_one_line_with_its_number() {
        let wrong = |from: &str, to: &str| {
            let text = SHIPPED.replacen(from, to, 1);
            parse("x", &text).expect_err("refused").to_string()
        };
        let error = wrong("kind", "colour = 1\nkind");
        assert!(
            error.starts_with("profiles/x.toml, line 4: unknown field `colour`"),
            "{error}"
        );
        for (from, to, expected) in [
            ("9400", "0", "invalid value"),
            ("4200", "\"large\"", "invalid type"),
            ("[node.server]", "[node.third]", "unknown field `third`"),
            ("[node.server]", "[[", "invalid"),
            ("mtu = 4200", "", "missing field `mtu`"),
            ("10.77.0.2/24", "10.77.0.2/33", "is not an IPv4 address"),
        ] {
            let error = wrong(from, to);
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
