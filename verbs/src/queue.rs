//! `ibv_cq`: where work requests are reported done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdma_sys as sys;
use sys::ibv_wc_status as st;

use crate::domain::Domain;
use crate::error::{Error, Result};

/// # Invariants
///
/// `raw` is alive until `drop`; queue pairs that report to it hold an `Arc`.
#[derive(Debug)]
struct RawQueue {
    raw: *mut sys::ibv_cq,
    _domain: Domain,
}

// SAFETY: verbs are thread-safe.
unsafe impl Send for RawQueue {}
// SAFETY: as above; never written after creation.
unsafe impl Sync for RawQueue {}

impl Drop for RawQueue {
    fn drop(&mut self) {
        // SAFETY: by the invariant no queue pair uses it any more.
        unsafe { sys::ibv_destroy_cq(self.raw) };
    }
}

/// A completion queue. Clones are the same queue.
#[derive(Clone, Debug)]
pub struct CompletionQueue(Arc<RawQueue>);

/// A work request that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The number it was posted with.
    pub wr_id: u64,
    /// Why it failed, if it did.
    pub error: Option<&'static str>,
}

impl CompletionQueue {
    /// A queue for `entries` completions, on the device of `domain`.
    pub fn new(domain: &Domain, entries: u16) -> Result<CompletionQueue> {
        // SAFETY: an open context; no completion channel.
        let raw = unsafe {
            sys::ibv_create_cq(
                domain.verbs()?,
                entries.max(1).into(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                0,
            )
        };
        if raw.is_null() {
            return Err(Error::last("create a completion queue"));
        }
        // INVARIANT: just created.
        Ok(CompletionQueue(Arc::new(RawQueue {
            raw,
            _domain: domain.clone(),
        })))
    }

    pub(crate) fn raw(&self) -> *mut sys::ibv_cq {
        self.0.raw
    }

    /// One completion if there is one.
    pub fn poll(&self) -> Result<Option<Completion>> {
        // SAFETY: all-zero is a valid ibv_wc: integers only.
        let mut wc: sys::ibv_wc = unsafe { std::mem::zeroed() };
        // SAFETY: a live queue and room for one entry.
        match unsafe { sys::ibv_poll_cq(self.raw(), 1, &mut wc) } {
            0 => Ok(None),
            1 => Ok(Some(Completion {
                wr_id: wc.wr_id,
                error: (wc.status != st::IBV_WC_SUCCESS).then(|| status(wc.status)),
            })),
            code => Err(Error::code("poll the completion queue", code)),
        }
    }

    /// The next completion. The processor is given away between polls: the
    /// link may be emulated on the only one there is.
    pub fn wait(&self, deadline: Instant, waiting_for: &'static str) -> Result<u64> {
        let mut polls = 0u32;
        loop {
            match self.poll()? {
                Some(Completion { wr_id, error: None }) => return Ok(wr_id),
                Some(Completion {
                    error: Some(error), ..
                }) => return Err(Error::WorkRequest(error)),
                None if Instant::now() >= deadline => return Err(Error::TimedOut(waiting_for)),
                None if polls < 200 => {
                    polls += 1;
                    std::thread::yield_now();
                }
                None => std::thread::sleep(Duration::from_micros(200)),
            }
        }
    }
}

fn status(status: st::Type) -> &'static str {
    match status {
        st::IBV_WC_LOC_LEN_ERR => "local length error",
        st::IBV_WC_LOC_QP_OP_ERR => "local queue pair operation error",
        st::IBV_WC_LOC_PROT_ERR => "local protection error",
        st::IBV_WC_WR_FLUSH_ERR => "flushed, the queue pair is in error",
        st::IBV_WC_REM_INV_REQ_ERR => "peer calls the request invalid",
        st::IBV_WC_REM_ACCESS_ERR => "peer denies access to that memory",
        st::IBV_WC_REM_OP_ERR => "peer failed to carry it out",
        st::IBV_WC_RETRY_EXC_ERR => "peer does not answer",
        st::IBV_WC_RNR_RETRY_EXC_ERR => "peer is not ready",
        _ => "unknown work completion error",
    }
}
