//! The command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use rapidswap_cli::{address, seconds};

/// Port of the proof unless another is given.
pub const PROOF_PORT: u16 = 9399;
/// Fewest READs and WRITEs that count as a proof.
pub const MIN_COUNT: u32 = 100;
/// More than this would not fit the buffers' 32-bit arithmetic comfortably.
const MAX_COUNT: u32 = 65_536;

/// Brings an RDMA link up, proves that it works, compares its device.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring a link up and wait until its port is active.
    Link(Link),
    /// READ and WRITE random data both ways and compare every byte.
    Prove(Prove),
    /// READ and WRITE a page each way, and another one when asked whether the link
    /// is still there: two machines that are saved in between need not connect again.
    Hold(Hold),
    /// Compare the device's limits with those of the adapters it stands in for.
    Parity {
        /// Device; all there are unless given.
        #[arg(long, value_name = "NAME")]
        device: Option<String>,
        /// One JSON line on stdout instead of a table.
        #[arg(long)]
        json: bool,
        /// As if the device offered no more of this attribute.
        #[arg(long, value_name = "ATTRIBUTE=VALUE", value_parser = cap)]
        cap: Vec<(String, u64)>,
    },
}

/// What kind of device the link is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Soft-RoCE.
    Rxe,
    /// Soft-iWARP.
    Siw,
    /// An adapter's, which is there already.
    Existing,
}

#[derive(Args, Debug)]
pub struct Link {
    /// Network interface.
    #[arg(long, value_name = "NETDEV")]
    pub dev: String,
    /// RDMA device, where the interface does not tell: over InfiniBand it does not.
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
    /// Address to give it, as 10.77.0.1/24; kept as it is unless given.
    #[arg(long, value_name = "ADDR/PREFIX")]
    pub addr: Option<Cidr>,
    /// Its MTU; kept as it is unless given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(576..=65_535))]
    pub mtu: Option<u32>,
    /// What kind of device.
    #[arg(long, value_enum, default_value = "rxe")]
    pub kind: Kind,
    /// How long the port may take to become active.
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = seconds())]
    pub deadline: u64,
}

#[derive(Args, Debug)]
pub struct Prove {
    #[command(flatten)]
    pub sides: Sides,
    /// READs, and WRITEs, of each side. Both sides need the same.
    #[arg(long, default_value_t = 128,
          value_parser = clap::value_parser!(u32).range(i64::from(MIN_COUNT)..=i64::from(MAX_COUNT)))]
    pub count: u32,
}

#[derive(Args, Debug)]
pub struct Hold {
    #[command(flatten)]
    pub sides: Sides,
    /// Two FIFOs, of the side that connects: whoever reads the first gets what the
    /// first page showed, whoever reads the second has the other one moved.
    #[arg(long, value_names = ["FIRST", "SECOND"], num_args = 2, conflicts_with = "listen",
          required_unless_present = "listen")]
    pub reports: Vec<PathBuf>,
}

/// Which of the two sides this is.
#[derive(Args, Debug)]
#[group(skip)]
#[command(group = ArgGroup::new("side").required(true))]
pub struct Sides {
    /// Wait on this address for the other side.
    #[arg(long, group = "side", value_name = "ADDR[:PORT]", value_parser = with_port)]
    pub listen: Option<SocketAddr>,
    /// Connect to the side that waits on this address.
    #[arg(long, group = "side", value_name = "ADDR[:PORT]", value_parser = with_port)]
    pub connect: Option<SocketAddr>,
    /// How long to keep trying.
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = seconds())]
    pub deadline: u64,
}

/// An address and the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The address.
    pub ip: IpAddr,
    /// Bits of the prefix.
    pub prefix: u8,
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Cidr, Self::Err> {
        const ERROR: &str = "not an address with a prefix: write one as 10.77.0.1/24";
        let (ip, prefix) = text.split_once('/').ok_or(ERROR)?;
        let ip: IpAddr = ip.parse().map_err(|_| ERROR)?;
        let prefix: u8 = prefix.parse().map_err(|_| ERROR)?;
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        if prefix > longest || ip == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
            return Err(ERROR);
        }
        Ok(Cidr { ip, prefix })
    }
}

fn cap(text: &str) -> Result<(String, u64), &'static str> {
    let cap = text.split_once('=');
    let cap = cap.and_then(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
    cap.ok_or("not a limit: write one as max_qp_rd_atom=8")
}

fn with_port(text: &str) -> Result<SocketAddr, String> {
    address(text, PROOF_PORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_beyond_all_times() {
        let parsed = Cli::try_parse_from(
            "x hold --listen 10.77.0.2 --deadline 18446744073709551615".split(' '),
        );
        assert!(parsed.is_err_and(|error| error.to_string().contains("31536000")));
    }

    #[test]
    fn the_documented_command_lines() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).unwrap().command;
        let Command::Link(link) =
            parse("x link --dev eth0 --addr 10.77.0.1/24 --mtu 4200 --kind rxe")
        else {
            panic!("not a link");
        };
        assert_eq!(link.addr.unwrap().to_string(), "10.77.0.1/24");
        assert_eq!(
            (link.mtu, link.kind, link.deadline),
            (Some(4200), Kind::Rxe, 20)
        );
        let Command::Prove(prove) = parse("x prove --connect 10.77.0.2 --deadline 5") else {
            panic!("not a proof");
        };
        let peer = Some("10.77.0.2:9399".parse().unwrap());
        assert_eq!((prove.sides.connect, prove.sides.deadline), (peer, 5));
        let Command::Hold(hold) = parse("x hold --listen 10.77.0.2") else {
            panic!("nothing to hold");
        };
        assert_eq!((hold.sides.listen, hold.sides.connect), (peer, None));
        let Command::Hold(hold) = parse("x hold --connect 10.77.0.2 --reports a b") else {
            panic!("nothing to hold");
        };
        assert_eq!(hold.sides.connect, peer);
        assert_eq!(hold.reports, [PathBuf::from("a"), PathBuf::from("b")]);
        let Command::Parity {
            json: true, cap, ..
        } = parse("x parity --json --cap max_qp=8")
        else {
            panic!("not a comparison");
        };
        assert_eq!(cap, [("max_qp".to_owned(), 8)]);
    }

    #[test]
    fn wrong_ones_are_refused() {
        for line in [
            "x prove",
            "x prove --listen 10.0.0.1 --connect 10.0.0.1",
            "x prove --listen somewhere",
            "x prove --listen 10.0.0.1 --count 99",
            "x hold",
            "x hold --listen 10.0.0.1 --count 100",
            "x hold --listen 10.0.0.1 --reports a b",
            "x hold --connect 10.0.0.1 --reports a",
            "x hold --connect 10.0.0.1",
            "x link --addr 10.0.0.1/24",
            "x link --dev eth0 --addr 10.0.0.1",
            "x link --dev eth0 --addr 10.0.0.1/33",
            "x link --dev eth0 --addr 0.0.0.0/0",
            "x link --dev eth0 --kind roce",
            "x link --dev eth0 --mtu 100",
            "x parity --cap max_qp",
            "x parity --cap max_qp=few",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
