// SPDX-License-Identifier: GPL-2.0-only

//! Where each slot's page is in the server's memory, for one session.
//!
//! Takes no lock. [`Map::read`] allocates and sleeps; what stores and loads call does neither.

use crate::complaint::Complaint;
use crate::control::{self, Control};
use crate::logic::slots::{Layout, PAGE_BYTES};
use crate::logic::wire::{
    table_len, Chunk, Rep, TableHeader, CHUNK_LEN, TABLE_HEADER_LEN, TABLE_RELEASED_OFFSET,
};
use crate::verbs::pool::{Pool, Route, Verb};
use crate::verbs::qp::Qp;
use crate::verbs::scratch::Scratch;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Most chunks a server may offer: 16 TiB of the default size, for 16 MiB of table here.
const MAX_CHUNKS: u32 = 1 << 20;

/// A session's chunk table.
pub(crate) struct Map {
    layout: Layout,
    chunks: KVVec<Chunk>,
    header: TableHeader,
    table_addr: u64,
    table_rkey: u32,
}

impl Map {
    /// READs the table that the server's answer names.
    pub(crate) fn read(
        pool: &Arc<Pool<Control>>,
        qp: &Qp,
        rep: &Rep,
        session: u64,
        timeout_ms: u32,
    ) -> Result<Arc<Map>, Complaint> {
        let what = "READ of the chunk table";
        let here = |error| Complaint::Verbs(what, error);
        let layout = Layout::from_rep(rep).map_err(Complaint::Layout)?;
        if layout.chunks() > MAX_CHUNKS {
            return Err(Complaint::TooManyChunks(layout.chunks()));
        }
        let mut map = Map {
            layout,
            chunks: KVVec::with_capacity(layout.chunks() as usize, GFP_KERNEL)
                .map_err(|error| here(error.into()))?,
            header: TableHeader {
                epoch: rep.epoch,
                lease: rep.lease,
                session,
                released: 0,
            },
            table_addr: rep.table_addr,
            table_rkey: rep.table_rkey,
        };
        let mut scratch = Scratch::new().map_err(here)?;
        let total = table_len(layout.chunks());
        let mut start = 0;
        while start < total {
            // A page holds whole entries, the header takes the place of four.
            let len = (total - start).min(PAGE_BYTES) as usize;
            let route = Route {
                verb: Verb::Read,
                len: len as u32,
                addr: map.table_addr.wrapping_add(start),
                rkey: map.table_rkey,
            };
            scratch = control::ask(pool, qp, route, scratch, what, timeout_ms)?;
            let mut at = 0;
            if start == 0 {
                map.check(&scratch)?;
                at = TABLE_HEADER_LEN;
            }
            while at < len {
                let mut entry = [0; CHUNK_LEN];
                scratch.read(at, &mut entry).map_err(here)?;
                let chunk = Chunk::decode(&entry).map_err(Complaint::Wire)?;
                map.chunks
                    .push(chunk, GFP_KERNEL)
                    .map_err(|error| here(error.into()))?;
                at += CHUNK_LEN;
            }
            start += PAGE_BYTES;
        }
        Arc::new(map, GFP_KERNEL).map_err(|error| here(error.into()))
    }

    /// Pages there is room for.
    pub(crate) fn pages(&self) -> u64 {
        self.layout.pages()
    }

    /// What the table's header says while the session lasts.
    pub(crate) fn header(&self) -> &TableHeader {
        &self.header
    }

    /// The way to the table's header.
    pub(crate) fn header_route(&self) -> Route {
        Route {
            verb: Verb::Read,
            len: TABLE_HEADER_LEN as u32,
            addr: self.table_addr,
            rkey: self.table_rkey,
        }
    }

    /// The way to the word that gives the lease back.
    pub(crate) fn release_route(&self) -> Route {
        Route {
            verb: Verb::Write,
            len: 8,
            addr: self.table_addr.wrapping_add(TABLE_RELEASED_OFFSET),
            rkey: self.table_rkey,
        }
    }

    fn check(&self, scratch: &Scratch) -> Result<(), Complaint> {
        if read_header(scratch)? == self.header {
            Ok(())
        } else {
            Err(Complaint::WrongTable)
        }
    }
}

/// The header that was READ into a page.
pub(crate) fn read_header(scratch: &Scratch) -> Result<TableHeader, Complaint> {
    let mut bytes = [0; TABLE_HEADER_LEN];
    scratch
        .read(0, &mut bytes)
        .map_err(|error| Complaint::Verbs("READ of the chunk table", error))?;
    TableHeader::decode(&bytes).map_err(Complaint::Wire)
}

/// A queue pair and the map that goes with it.
pub(crate) struct Path {
    qp: Arc<Qp>,
    map: Arc<Map>,
}

impl Path {
    /// Both are of one session.
    pub(crate) fn new(qp: &Arc<Qp>, map: &Arc<Map>) -> Path {
        Path {
            qp: qp.clone(),
            map: map.clone(),
        }
    }

    pub(crate) fn qp(&self) -> &Qp {
        &self.qp
    }

    pub(crate) fn map(&self) -> &Map {
        &self.map
    }

    /// The way to a slot's page; `None` where the server has no room for it.
    pub(crate) fn page(&self, verb: Verb, slot: u64) -> Option<Route> {
        let (addr, rkey) = self.map.layout.remote(&self.map.chunks, slot)?;
        Some(Route {
            verb,
            len: PAGE_BYTES as u32,
            addr,
            rkey,
        })
    }
}
