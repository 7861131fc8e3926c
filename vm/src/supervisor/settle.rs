//! What a node is given that no other has, booted or restored: the time of
//! day, and random numbers.

use std::fs::File;
use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use rapidswap_protocol::Agent;
use rapidswap_protocol::message::Settle;

use crate::error::{IoContext, Result};

/// As many bytes as the kernel keeps.
const SEED: usize = 64;

/// Has a node's agent settle.
pub(super) fn settle(agent: &Agent) -> Result<()> {
    let mut seed = vec![0; SEED];
    let read = File::open("/dev/urandom").and_then(|mut device| device.read_exact(&mut seed));
    read.what(|| "cannot read /dev/urandom".into())?;
    // A host whose clock is before 1970 has a node as wrong as itself.
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    let time = time.unwrap_or_default();
    Ok(agent.settle(&Settle { time, seed })?)
}
