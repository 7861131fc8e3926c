// SPDX-License-Identifier: GPL-2.0-only

//! The queue pairs of a session, and those of sessions that are over.
//!
//! For the session's worker: sleeps, and takes no lock of ours.

use crate::dial::Line;
use crate::logic::fifo::Fifo;
use crate::map::Map;
use crate::verbs::cm::CmId;
use crate::verbs::qp::Qp;
use kernel::error::Result;
use kernel::sync::Arc;

/// Sessions that are over and not yet destroyed.
const MAX_ENDED: usize = 4;

/// What there is of a session.
#[derive(Default)]
pub(crate) struct Link {
    pub(crate) load: Option<Line>,
    pub(crate) map: Option<Arc<Map>>,
    pub(crate) store: Option<Arc<Qp>>,
}

impl Link {
    fn qps(&self) -> impl Iterator<Item = &Arc<Qp>> {
        let load = self.load.as_ref().map(|line| &line.qp);
        load.into_iter().chain(&self.store)
    }

    /// All requests are back when this returns; where it fails, not before this is dropped.
    pub(crate) fn end(&self) -> Result {
        // One that fails is no reason to leave the other.
        self.qps().map(|qp| qp.end()).fold(Ok(()), Result::and)
    }

    /// What keeps the devices by which memory is mapped.
    pub(crate) fn ids(&self) -> [Option<Arc<CmId>>; 2] {
        let mut ids = self.qps().map(|qp| qp.id());
        [ids.next(), ids.next()]
    }
}

/// Sessions that are over: nothing of them is in flight.
///
/// An adapter made of software may have packets of theirs in the queue of a network device that is
/// stuck, and destroying a queue pair waits for those. So they are kept until packets go out again.
pub(crate) struct Ended(Fifo<Link, MAX_ENDED>);

impl Ended {
    /// None.
    pub(crate) fn new() -> Ended {
        Ended(Fifo::new())
    }

    /// Keeps a session that has been [ended](Link::end).
    pub(crate) fn put(&mut self, link: Link) {
        // One that never connected has nothing to wait for.
        if link.load.is_none() {
            return;
        }
        if let Err(link) = self.0.push(link) {
            // The oldest has had the longest time.
            drop(self.0.pop());
            drop(self.0.push(link));
        }
    }

    /// Destroys them all.
    pub(crate) fn clear(&mut self) {
        while let Some(link) = self.0.pop() {
            drop(link);
        }
    }
}
