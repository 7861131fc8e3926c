//! Memory one client has, and the table that tells it where.

use std::sync::Arc;

use rapidswap_verbs::{Access, CompletionQueue, Domain, Error, Id, Memory, Region, Result};
use remoteswap_logic::slots::{Layout, PAGE_BYTES};
use remoteswap_logic::wire::{
    CHUNK_LEN, Chunk, RELEASED, REP_LEASE_KEPT, Rep, TABLE_HEADER_LEN, TABLE_RELEASED_OFFSET,
    TableHeader, table_len,
};

use crate::pool::{Pool, Portion};

/// Completions a lease's queue pairs may have waiting.
const COMPLETIONS: u16 = 16;

/// A client's memory. It has a protection domain of its own: no client's keys
/// open another's memory.
#[derive(Debug)]
pub struct Lease {
    number: u64,
    session: u64,
    // Before the portion: registrations go before the memory is lent again.
    keys: Option<Keys>,
    portion: Portion,
    table: Arc<Memory>,
    queue: CompletionQueue,
    domain: Domain,
}

/// The registrations of one session.
#[derive(Debug)]
struct Keys {
    _chunks: Vec<Region>,
    table: Region,
}

impl Lease {
    /// Leases `wanted` bytes, 0 for all, or what there is; `None` if there is
    /// nothing. The number names the contents: same number, same contents.
    pub fn new(listener: &Arc<Id>, number: u64, pool: &Pool, wanted: u64) -> Result<Option<Lease>> {
        let domain = Domain::new(listener)?;
        let queue = CompletionQueue::new(&domain, COMPLETIONS)?;
        let Some(portion) = pool.take(wanted) else {
            return Ok(None);
        };
        let len = table_len(portion.layout().chunks());
        let table = Arc::new(Memory::map(usize::try_from(len).unwrap_or(usize::MAX))?);
        Ok(Some(Lease {
            number,
            session: 0,
            keys: None,
            portion,
            table,
            queue,
            domain,
        }))
    }

    /// The number that names the contents.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How slots map to memory.
    pub fn layout(&self) -> Layout {
        self.portion.layout()
    }

    /// Bytes leased.
    pub fn capacity(&self) -> u64 {
        self.layout().pages() * PAGE_BYTES
    }

    /// Where queue pairs of this lease belong.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Where queue pairs of this lease report.
    pub fn queue(&self) -> &CompletionQueue {
        &self.queue
    }

    /// Changes the keys for a new session. Only with no queue pair of an older
    /// one left. After an error the session has none, and another one may.
    pub fn rekey(&mut self, epoch: u64, session: u64) -> Result<()> {
        self.keys = None;
        self.session = session;
        let chunks = self
            .portion
            .chunks()
            .iter()
            .map(|memory| self.domain.register(memory, Access::Remote))
            .collect::<Result<Vec<Region>>>()?;
        let header = TableHeader {
            epoch,
            lease: self.number,
            session,
            released: 0,
        };
        self.table.write(0, &header.encode())?;
        let mut at = TABLE_HEADER_LEN;
        for region in &chunks {
            let entry = Chunk {
                addr: region.addr(),
                rkey: region.rkey(),
            };
            self.table.write(at, &entry.encode())?;
            at += CHUNK_LEN;
        }
        let table = self.domain.register(&self.table, Access::Remote)?;
        self.keys = Some(Keys {
            _chunks: chunks,
            table,
        });
        Ok(())
    }

    /// What to tell the client. An error unless the last `rekey` succeeded.
    pub fn reply(&self, epoch: u64, kept: bool) -> Result<Rep> {
        let Some(keys) = &self.keys else {
            return Err(Error::WorkRequest("the lease has no keys"));
        };
        Ok(Rep {
            flags: if kept { REP_LEASE_KEPT } else { 0 },
            epoch,
            lease: self.number,
            capacity_bytes: self.capacity(),
            chunk_bytes: self.layout().chunk_bytes(),
            chunk_count: self.layout().chunks(),
            table_rkey: keys.table.rkey(),
            table_addr: keys.table.addr(),
        })
    }

    /// The session that the keys are for, or were to be for; 0 before the first.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// From now on somebody may have written to the memory.
    pub fn lend(&mut self) {
        self.portion.lend();
    }

    /// Whether the client has written that it needs the memory no more.
    pub fn is_released(&self) -> bool {
        let mut word = [0; 8];
        let read = self.table.read(TABLE_RELEASED_OFFSET as usize, &mut word);
        read.is_ok() && u64::from_le_bytes(word) == RELEASED
    }

    /// Inverts one bit in the middle of a slot's page. `false`: no such slot.
    pub fn flip(&self, slot: u64) -> bool {
        let place = self.layout().place(slot);
        place.is_some_and(|place| {
            let chunk = self.portion.chunks().get(place.chunk as usize);
            chunk.is_some_and(|memory| {
                memory
                    .flip(place.offset as usize + PAGE_BYTES as usize / 2, 1)
                    .is_ok()
            })
        })
    }
}
