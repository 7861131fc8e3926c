//! A server that gives wrong answers, for tests of clients.
//!
//! `bad_peer --listen ADDR:PORT [--magic X] [--wire-version N] [--reject]` lets
//! every connection in with an answer of that magic and version, or turns it
//! away with one. Prints `ready ADDR:PORT`, then a line for each request, until
//! it is killed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use rapidswap_verbs::{
    CompletionQueue, ConnectParams, Connection, Domain, Error, EventChannel, EventKind, Id,
};
use remoteswap_logic::wire::{
    MAGIC, MAX_READS, RETRY_COUNT, RNR_RETRY_COUNT, Reason, Rej, Rep, VERSION,
};

/// A server that gives wrong answers.
#[derive(Parser)]
struct Cli {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// First word of the answer, in decimal.
    #[arg(long, default_value_t = MAGIC)]
    magic: u32,
    /// Version in the answer.
    #[arg(long, default_value_t = VERSION)]
    wire_version: u16,
    /// Answer with a rejection.
    #[arg(long)]
    reject: bool,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let channel = EventChannel::new()?;
    let listener = Id::new(&channel)?;
    listener.bind(cli.listen)?;
    listener.listen(8)?;
    println!("ready {}", cli.listen);
    let mut links = HashMap::new();
    loop {
        let event = match channel.next(Instant::now() + Duration::from_secs(3600), "waiting") {
            Err(Error::TimedOut(_)) => continue,
            event => event?,
        };
        match event.kind {
            EventKind::ConnectRequest { id, .. } if cli.reject => {
                println!("request rejected");
                id.reject(&patched(&cli, Rej::new(Reason::BadVersion).encode()))?;
            }
            EventKind::ConnectRequest { id, .. } => {
                println!("request accepted");
                let link = accept(Arc::new(id), &patched(&cli, nonsense().encode()))?;
                links.insert(link.key(), link);
            }
            EventKind::Disconnected => {
                links.remove(&event.key);
            }
            _ => {}
        }
    }
}

fn patched<const N: usize>(cli: &Cli, mut message: [u8; N]) -> [u8; N] {
    message[..4].copy_from_slice(&cli.magic.to_le_bytes());
    message[4..6].copy_from_slice(&cli.wire_version.to_le_bytes());
    message
}

/// An answer of the right form about memory that is not there.
fn nonsense() -> Rep {
    Rep {
        flags: 0,
        epoch: 1,
        lease: 1,
        capacity_bytes: 1 << 20,
        chunk_bytes: 1 << 20,
        chunk_count: 1,
        table_rkey: 1,
        table_addr: 0x1000,
    }
}

fn accept(id: Arc<Id>, answer: &[u8]) -> Result<Connection> {
    let domain = Domain::new(&id)?;
    let queue = CompletionQueue::new(&domain, 4)?;
    let link = Connection::new(id, &domain, &queue, 1, 1)?;
    link.accept(ConnectParams {
        private_data: answer,
        responder_resources: MAX_READS,
        initiator_depth: MAX_READS,
        retry_count: RETRY_COUNT,
        rnr_retry_count: RNR_RETRY_COUNT,
    })?;
    Ok(link)
}
