//! Many clients that ask a server for memory and do not take its answer.
//!
//! `crowd --connect ADDR:PORT --count N`. Says `asked` when all have asked, and
//! stays until it is killed.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use rand::random;
use remoteswap_logic::wire::{Req, Role};
use remoteswap_server::client::Request;

const LIMIT: Duration = Duration::from_secs(20);

/// Asks a server for memory and does not take its answer.
#[derive(Parser)]
struct Cli {
    /// The server.
    #[arg(long)]
    connect: SocketAddr,
    /// How many clients to be.
    #[arg(long)]
    count: usize,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let ask = |_| {
        let request = Req {
            role: Role::Load,
            client_id: random(),
            session: 1,
            wanted_bytes: 1 << 20,
        };
        Ok(Request::send(cli.connect, &request.encode(), LIMIT)?)
    };
    let _asked = (0..cli.count).map(ask).collect::<Result<Vec<_>>>()?;
    println!("asked");
    loop {
        std::thread::park();
    }
}
