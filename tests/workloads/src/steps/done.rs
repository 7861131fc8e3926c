//! What came of steps.

use serde::{Deserialize, Serialize};

use crate::pattern::Tally;

/// What a line of steps came to: the sum over them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What was compared.
    #[serde(flatten)]
    pub tally: Tally,
    /// Pages that were zero where they need not have been.
    pub zero_pages: u64,
    /// Pages in memory, the swap cache included.
    pub resident: u64,
    /// Pages in swap alone.
    pub swapped: u64,
    /// Pages that are unmapped and in the swap cache.
    pub cached: u64,
    /// The slot of the first page that has one.
    pub first_slot: Option<u64>,
    /// Pages of the file.
    pub allocated: u64,
    /// Times that a line was repeated.
    pub rounds: u64,
    /// Missing pages that the handler has given, from its beginning on.
    pub missing: u64,
    /// Writes to protected pages that it has allowed.
    pub protected: u64,
}

impl Done {
    /// Adds what another line came to. The handler's counts are the same ones.
    pub fn add(&mut self, other: Done) {
        self.tally.add(other.tally);
        self.zero_pages += other.zero_pages;
        self.resident += other.resident;
        self.swapped += other.swapped;
        self.cached += other.cached;
        self.first_slot = self.first_slot.or(other.first_slot);
        self.allocated += other.allocated;
        self.rounds += other.rounds;
        self.missing = self.missing.max(other.missing);
        self.protected = self.protected.max(other.protected);
    }
}
