//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use rapidswap_cli::{address, seconds};
use remoteswap_logic::size::Size;
use remoteswap_logic::wire::DEFAULT_PORT;
use remoteswap_server::daemon::Options;

/// Lends this machine's memory to others over RDMA, for swap.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct Cli {
    /// Address to listen on, and the only one; the port is 9400 unless given.
    #[arg(long, value_name = "ADDR[:PORT]", required = true, value_parser = with_port)]
    listen: Option<SocketAddr>,
    /// Memory to lend, as 64M or 1G.
    #[arg(long, required = true)]
    size: Option<Size>,
    /// Size of the pieces it is registered in, a power of two.
    #[arg(long, default_value = "16M")]
    chunk: Size,
    /// How long the memory of a client that was lost is kept for it.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = seconds())]
    grace: u64,
    /// Where to make a control socket.
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send a command (`stats`, `flip SLOT`) to a server's control socket.
    Ctl {
        /// The socket.
        path: PathBuf,
        /// The command.
        #[arg(required = true)]
        words: Vec<String>,
    },
    /// Do one handshake with a server and print what it answers.
    Probe(Probe),
}

#[derive(Args, Debug)]
pub struct Probe {
    /// The server.
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = with_port)]
    pub connect: SocketAddr,
    /// Send this magic instead of the right one.
    #[arg(long, value_parser = number::<u32>)]
    pub magic: Option<u32>,
    /// Claim this version of the protocol.
    #[arg(long, value_name = "VERSION")]
    pub wire_version: Option<u16>,
    /// Which client to be; random unless given.
    #[arg(long, value_name = "ID", value_parser = number::<u64>)]
    pub client_id: Option<u64>,
    /// Session number.
    #[arg(long, default_value_t = 1)]
    pub session: u64,
    /// Memory to ask for; 0 asks for all.
    #[arg(long, value_name = "SIZE", default_value = "4K")]
    pub wanted: Size,
    /// Ask for the store queue pair.
    #[arg(long)]
    pub store: bool,
    /// Leave the lease to its grace time and do not release it.
    #[arg(long)]
    pub keep: bool,
    /// Stay connected for so long first.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = seconds())]
    pub hold: u64,
    /// How long to wait for the server.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = seconds())]
    pub deadline: u64,
}

impl Cli {
    /// What the server is to do.
    pub fn options(self) -> Result<Options> {
        Ok(Options {
            listen: self.listen.context("--listen is missing")?,
            size: self.size.context("--size is missing")?,
            chunk: self.chunk,
            grace: Duration::from_secs(self.grace),
            control: self.control,
        })
    }
}

fn with_port(text: &str) -> Result<SocketAddr, String> {
    address(text, DEFAULT_PORT)
}

fn number<T: TryFrom<u64>>(text: &str) -> Result<T, &'static str> {
    let value = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    value
        .ok()
        .and_then(|v| T::try_from(v).ok())
        .ok_or("not a number that fits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_beyond_all_times() {
        let parsed =
            Cli::try_parse_from("x --listen 10.77.0.2 --size 16M --grace 99999999999".split(' '));
        assert!(parsed.is_err_and(|error| error.to_string().contains("31536000")));
    }

    #[test]
    fn the_documented_command_line() {
        let cli = Cli::try_parse_from([
            "x",
            "--listen",
            "10.77.0.2:9400",
            "--size",
            "256M",
            "--control",
            "/run/c",
        ])
        .unwrap();
        let options = cli.options().unwrap();
        assert_eq!(options.listen, "10.77.0.2:9400".parse().unwrap());
        assert_eq!(
            (options.size, options.chunk),
            (Size(256 << 20), Size(16 << 20))
        );
        assert_eq!(options.grace, Duration::from_secs(600));
        options.check().unwrap();
    }

    #[test]
    fn subcommands_need_no_listener() {
        let cli = Cli::try_parse_from(["x", "ctl", "/run/c", "flip", "3"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Ctl { words, .. }) if words == ["flip", "3"]));
        let cli = Cli::try_parse_from(["x", "probe", "--connect", "10.0.0.1", "--magic", "0xdead"])
            .unwrap();
        let Some(Command::Probe(probe)) = cli.command else {
            panic!("not a probe")
        };
        assert_eq!((probe.connect.port(), probe.magic), (9400, Some(0xdead)));
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        for (listen, size, chunk) in [
            ("0.0.0.0", "64M", "16M"),
            ("10.0.0.1:0", "64M", "16M"),
            ("10.0.0.1", "64K", "16M"),
            ("10.0.0.1", "1048577", "16M"),
            ("10.0.0.1", "64M", "3M"),
        ] {
            let args = ["x", "--listen", listen, "--size", size, "--chunk", chunk];
            let options = Cli::try_parse_from(args).unwrap().options().unwrap();
            assert!(options.check().is_err(), "{listen} {size} {chunk}");
        }
        for args in [
            ["--listen", "host", "--size", "64M"],
            ["--listen", "10.0.0.1", "--size", "64X"],
        ] {
            assert!(
                Cli::try_parse_from(["x"].iter().chain(&args)).is_err(),
                "{args:?}"
            );
        }
    }
}
