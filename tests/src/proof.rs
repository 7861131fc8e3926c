//! Proofs of links, beside the one of bringing a cluster up.

use std::time::Duration;

use anyhow::Result;
use rapidswap_protocol::Output;

use crate::guest::Guest;
use crate::scene::scaled;

/// Has two nodes prove their link, `far` listening at `address`. Returns what
/// each end came to, that of `near` first.
pub fn prove(near: &Guest, far: &Guest, address: &str, options: &[&str]) -> Result<[Output; 2]> {
    let half = |role, guest: &Guest| {
        let words = ["/rapidswap/bin/rxe-setup", "prove", role, address];
        guest.start(&[&words, options].concat())
    };
    let limit = scaled(Duration::from_secs(60))?;
    let listens = half("--listen", far)?;
    let connected = half("--connect", near)?.finish(limit)?;
    Ok([connected, listens.finish(limit)?])
}
