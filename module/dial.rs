// SPDX-License-Identifier: GPL-2.0-only

//! Connecting one queue pair of a session.
//!
//! For the session's worker: sleeps and allocates. Takes no lock of ours but the mailbox's.

use crate::complaint::Complaint;
use crate::config::Config;
use crate::logic::wire::{Rej, Rep, Req, MAX_READS, RETRY_COUNT, RNR_RETRY_COUNT};
use crate::verbs::cm::{CmId, Request};
use crate::verbs::mail::{Event, Mailbox};
use crate::verbs::qp::Qp;
use kernel::prelude::*;
use kernel::sync::Arc;

/// What the connection manager gets to find an address or a path.
const RESOLVE_MS: u32 = 5_000;
/// And what it gets to say that it has not.
const REPORT_MS: u32 = RESOLVE_MS + 5_000;

/// A connected queue pair and what the server said.
pub(crate) struct Line {
    pub(crate) qp: Arc<Qp>,
    pub(crate) rep: Rep,
    /// READs that may be outstanding.
    pub(crate) reads: u8,
}

/// Connects, or says why not. `connect_ms` is for the server's answer: it may have to register
/// all of its memory anew before.
pub(crate) fn dial(
    config: &Config,
    mailbox: &Arc<Mailbox>,
    req: &Req,
    depth: usize,
    connect_ms: u32,
) -> Result<Line, Complaint> {
    let verbs = |what| move |error| Complaint::Verbs(what, error);
    let id = CmId::new(mailbox).map_err(verbs("making a connection identifier"))?;

    let what = "address request";
    id.resolve_address(config.ip, config.port, RESOLVE_MS)
        .map_err(|error| Complaint::NoWay(error.to_errno()))?;
    match mailbox.wait(REPORT_MS) {
        Event::AddressResolved => {}
        Event::Lost { status, .. } => return Err(Complaint::NoWay(status)),
        other => return Err(refusal(other, what)),
    }

    let what = "path request";
    id.resolve_route(RESOLVE_MS).map_err(verbs(what))?;
    match mailbox.wait(REPORT_MS) {
        Event::RouteResolved => {}
        Event::Lost { status, .. } => return Err(Complaint::NoWay(status)),
        other => return Err(refusal(other, what)),
    }

    let qp = Qp::new(&id, depth as u32).map_err(verbs("making a queue pair"))?;
    let what = "connection request";
    id.connect(&Request {
        private: &req.encode(),
        reads: MAX_READS,
        retry_count: RETRY_COUNT,
        rnr_retry_count: RNR_RETRY_COUNT,
    })
    .map_err(verbs(what))?;
    match mailbox.wait(connect_ms) {
        Event::Established { private, reads } => {
            let rep = Rep::decode(private.as_bytes()).map_err(Complaint::Wire)?;
            Ok(Line { qp, rep, reads })
        }
        other => Err(refusal(other, what)),
    }
}

fn refusal(event: Event, what: &'static str) -> Complaint {
    match event {
        Event::Cancelled => Complaint::Cancelled,
        Event::Lost { name, status } => Complaint::Lost(name, status),
        Event::Rejected { private, message } => match Rej::decode(private.as_bytes()) {
            Ok(rej) => Complaint::Refused(rej),
            Err(_) => Complaint::Rejected(message),
        },
        Event::Silence
        | Event::AddressResolved
        | Event::RouteResolved
        | Event::Established { .. } => Complaint::Silence(what),
    }
}
