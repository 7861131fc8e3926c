//! The handler of faults, a thread of the program that makes them.

use std::ops::Range;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result};

use super::contents::Contents;
use crate::memory::Region;
use crate::memory::userfault::{Fault, Userfault};

/// A thread that handles faults until the program ends.
pub(super) struct Handler {
    userfault: Arc<Userfault>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    missing: AtomicU64,
    protected: AtomicU64,
}

impl Handler {
    /// Takes over the faults of `range`.
    pub(super) fn start(region: &Region, contents: Contents, range: Range<usize>) -> Result<Self> {
        let userfault = Userfault::register(region, range).context("userfaultfd")?;
        let handler = Handler {
            userfault: Arc::new(userfault),
            counts: Arc::default(),
        };
        let (userfault, counts) = (handler.userfault.clone(), handler.counts.clone());
        thread::spawn(move || {
            loop {
                if let Err(error) = handle(&userfault, &counts, contents) {
                    // Who made the fault would wait for ever.
                    eprintln!("page-pattern: {error:#}");
                    exit(2);
                }
            }
        });
        Ok(handler)
    }

    /// Has writes to `range` come here first.
    pub(super) fn protect(&self, range: Range<usize>) -> Result<()> {
        self.userfault.protect(range).context("write-protect")
    }

    /// Pages given, and writes allowed.
    pub(super) fn counts(&self) -> (u64, u64) {
        let Counts { missing, protected } = &*self.counts;
        (
            missing.load(Ordering::Relaxed),
            protected.load(Ordering::Relaxed),
        )
    }
}

/// Counts before it lets the other thread go on, which then sees the count.
fn handle(userfault: &Userfault, counts: &Counts, contents: Contents) -> Result<()> {
    match userfault.next().context("wait for a fault")? {
        Fault::Missing(page) => {
            counts.missing.fetch_add(1, Ordering::Relaxed);
            let given = userfault.give(page, &contents.page(page));
            given.with_context(|| format!("give page {page}"))
        }
        Fault::Protected(page) => {
            counts.protected.fetch_add(1, Ordering::Relaxed);
            let allowed = userfault.allow(page);
            allowed.with_context(|| format!("allow page {page}"))
        }
    }
}
