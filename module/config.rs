// SPDX-License-Identifier: GPL-2.0-only

//! What the module was told to do, checked.
//!
//! Takes no lock, allocates nothing.

use crate::logic::size::Size;
use crate::logic::wire::DEFAULT_PORT;
use crate::store;
use crate::verbs::params::Given;
use core::net::Ipv4Addr;
use core::ops::RangeInclusive;
use kernel::prelude::*;

/// The module's parameters.
#[derive(Clone, Copy)]
pub(crate) struct Config {
    /// Where the memory server is.
    pub(crate) ip: Ipv4Addr,
    pub(crate) port: u16,
    /// Bytes to ask for; 0: all there is.
    pub(crate) wanted: u64,
    /// Stores that may be under way at a time.
    pub(crate) store_depth: u16,
    /// A store, or a sign of life, that takes longer ends the session.
    pub(crate) store_timeout_ms: u32,
    /// How long a load waits for a session.
    pub(crate) load_timeout_ms: u32,
    /// Pause between signs of life.
    pub(crate) keepalive_ms: u32,
}

impl Config {
    /// Reads the parameters. Of the wrong ones it names the first, once.
    pub(crate) fn from_params() -> Result<Config> {
        let given = Given::read();
        let Some(sip) = given.sip else {
            pr_err!("sip is missing: give the memory server's IPv4 address, as sip=10.0.0.2\n");
            return Err(EINVAL);
        };
        Ok(Config {
            ip: address(sip)?,
            port: match given.sport {
                Some(text) => number("sport", text, 1..=65535)? as u16,
                None => DEFAULT_PORT,
            },
            wanted: given.rmsize.map_or(Ok(0), size)?,
            store_depth: match given.store_depth {
                Some(text) => number("store_depth", text, 1..=store::DEPTH as u32)? as u16,
                None => store::DEPTH as u16,
            },
            store_timeout_ms: millis("store_timeout_ms", given.store_timeout_ms, 3_000)?,
            load_timeout_ms: millis("load_timeout_ms", given.load_timeout_ms, 90_000)?,
            keepalive_ms: millis("keepalive_ms", given.keepalive_ms, 1_000)?,
        })
    }
}

fn address(text: &CStr) -> Result<Ipv4Addr> {
    let parsed = text.to_str().ok().and_then(|text| text.trim().parse().ok());
    match parsed {
        Some(ip) => Ok(ip),
        None => {
            pr_err!("sip={text}: not an IPv4 address, give the memory server's, as sip=10.0.0.2\n");
            Err(EINVAL)
        }
    }
}

fn millis(name: &str, given: Option<&CStr>, default: u32) -> Result<u32> {
    match given {
        Some(text) => number(name, text, 100..=600_000),
        None => Ok(default),
    }
}

fn number(name: &str, text: &CStr, range: RangeInclusive<u32>) -> Result<u32> {
    let parsed = text.to_str().ok().and_then(|text| text.trim().parse().ok());
    match parsed {
        Some(number) if range.contains(&number) => Ok(number),
        _ => {
            let (from, to) = (range.start(), range.end());
            pr_err!("{name}={text}: out of range, give a number from {from} to {to}\n");
            Err(EINVAL)
        }
    }
}

/// A number alone is GiB, as it was in the module that this parameter's name is from.
fn size(text: &CStr) -> Result<u64> {
    let parsed = text.to_str().ok().map(str::trim).and_then(|text| {
        let Size(bytes) = text.parse().ok()?;
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            bytes.checked_mul(1 << 30)
        } else {
            Some(bytes)
        }
    });
    match parsed {
        Some(bytes) => Ok(bytes),
        None => {
            pr_err!("rmsize={text}: not a size, give GiB or a number with K, M, G or T, as rmsize=512M\n");
            Err(EINVAL)
        }
    }
}
