//! The client's side of the protocol, as far as tests and `probe` need it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rapidswap_verbs::{
    Access, CompletionQueue, ConnectParams, Connection, Domain, Error, EventChannel, EventKind, Id,
    Memory, Region, Remote, dial,
};
use remoteswap_logic::slots::{Layout, LayoutError, PAGE_BYTES};
use remoteswap_logic::wire::{
    CHUNK_LEN, Chunk, MAX_READS, RELEASED, REQ_LEN, RETRY_COUNT, RNR_RETRY_COUNT, Reason, Rej, Rep,
    Req, Role, TABLE_HEADER_LEN, TABLE_RELEASED_OFFSET, TableHeader, WireError, table_len,
};

/// Status by which InfiniBand's CM says that the peer's program rejected, not
/// the transport. iWARP has none: there a reason that can be read says so.
const CONSUMER_DEFINED: i32 = 28;
/// Bytes READ at once: what one chunk table page holds and a page is.
const SCRATCH: usize = PAGE_BYTES as usize;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server said no.
    #[error("rejected: {reason} (server speaks version {version})")]
    Refused {
        /// Why.
        reason: Reason,
        /// The server's version.
        version: u16,
    },
    /// Nobody listens there.
    #[error("nobody listens there")]
    NobodyThere,
    /// The answer or the table makes no sense.
    #[error("the server's answer cannot be used")]
    Wire(#[from] WireError),
    /// The sizes do not fit together.
    #[error("the server's answer cannot be used")]
    Layout(#[from] LayoutError),
    /// The table is not the one the answer speaks of.
    #[error("chunk table is of another session")]
    Table,
    /// The slot is beyond the capacity.
    #[error("no such slot")]
    NoSlot,
    /// RDMA failed.
    #[error(transparent)]
    Verbs(#[from] Error),
}

/// A request to be let in that the server has not answered yet.
#[derive(Debug)]
pub struct Request {
    connection: Connection,
    scratch: Region,
    channel: EventChannel,
    deadline: Instant,
}

impl Request {
    /// Sends a request given as bytes, so that it may be a wrong one.
    pub fn send(
        server: SocketAddr,
        request: &[u8; REQ_LEN],
        limit: Duration,
    ) -> Result<Request, ClientError> {
        let deadline = Instant::now() + limit;
        let channel = EventChannel::new()?;
        let id = dial(&channel, server, deadline)?;
        let domain = Domain::new(&id)?;
        let queue = CompletionQueue::new(&domain, 8)?;
        let scratch = domain.register(&Arc::new(Memory::map(SCRATCH)?), Access::Local)?;
        let connection = Connection::new(id, &domain, &queue, 4, 1)?;
        connection.connect(ConnectParams {
            private_data: request,
            responder_resources: MAX_READS,
            initiator_depth: MAX_READS,
            retry_count: RETRY_COUNT,
            rnr_retry_count: RNR_RETRY_COUNT,
        })?;
        Ok(Request {
            connection,
            scratch,
            channel,
            deadline,
        })
    }

    /// Waits for the server's answer.
    fn answer(&self) -> Result<Rep, ClientError> {
        let event = self
            .channel
            .next(self.deadline, "waiting for the server's answer")?;
        match event.kind {
            EventKind::Established => Ok(Rep::decode(&event.private_data)?),
            EventKind::Rejected => match Rej::decode(&event.private_data) {
                Ok(rej) => Err(ClientError::Refused {
                    reason: rej.reason,
                    version: rej.version,
                }),
                Err(error) if event.status == CONSUMER_DEFINED => Err(error.into()),
                Err(_) => Err(ClientError::NobodyThere),
            },
            _ => Err(Error::Connection {
                event: event.name,
                status: event.status,
            }
            .into()),
        }
    }
}

/// A queue pair the server has accepted.
#[derive(Debug)]
pub struct Link {
    connection: Connection,
    scratch: Region,
    channel: EventChannel,
    /// The server's answer.
    pub rep: Rep,
    /// How long a READ or WRITE may take.
    pub limit: Duration,
}

impl Link {
    /// Connects with a request given as bytes, so that it may be a wrong one.
    pub fn connect(
        server: SocketAddr,
        request: &[u8; REQ_LEN],
        limit: Duration,
    ) -> Result<Link, ClientError> {
        let request = Request::send(server, request, limit)?;
        let rep = request.answer()?;
        Ok(Link {
            connection: request.connection,
            scratch: request.scratch,
            channel: request.channel,
            rep,
            limit,
        })
    }

    /// READs from the server's memory; at most a page, whole words.
    pub fn read(&self, remote: Remote, into: &mut [u8]) -> Result<(), ClientError> {
        self.connection
            .post_read(1, &self.scratch, 0, into.len(), remote)?;
        self.finish()?;
        Ok(self.scratch.memory().read(0, into)?)
    }

    /// WRITEs to the server's memory; at most a page, whole words.
    pub fn write(&self, remote: Remote, from: &[u8]) -> Result<(), ClientError> {
        self.scratch.memory().write(0, from)?;
        self.connection
            .post_write(1, &self.scratch, 0, from.len(), remote)?;
        self.finish()
    }

    fn finish(&self) -> Result<(), ClientError> {
        let deadline = Instant::now() + self.limit;
        self.connection
            .queue()
            .wait(deadline, "waiting for the server's memory")?;
        Ok(())
    }

    /// Waits until the server ends the connection.
    pub fn wait_closed(&self, limit: Duration) -> Result<(), ClientError> {
        let deadline = Instant::now() + limit;
        while !matches!(
            self.channel
                .next(deadline, "waiting for the server to disconnect")?
                .kind,
            EventKind::Disconnected
        ) {}
        Ok(())
    }

    /// The identifier under it.
    pub fn id(&self) -> &Arc<Id> {
        self.connection.id()
    }
}

/// Both queue pairs of a session and the chunk table.
#[derive(Debug)]
pub struct Session {
    /// The queue pair loads go over.
    pub load: Link,
    /// The queue pair stores go over.
    pub store: Link,
    layout: Layout,
    table: Vec<Chunk>,
}

impl Session {
    /// Enters session number `session` of client `client_id`.
    pub fn enter(
        server: SocketAddr,
        client_id: u64,
        session: u64,
        wanted_bytes: u64,
        limit: Duration,
    ) -> Result<Session, ClientError> {
        let req = |role| {
            Req {
                role,
                client_id,
                session,
                wanted_bytes,
            }
            .encode()
        };
        let load = Link::connect(server, &req(Role::Load), limit)?;
        let (layout, table) = read_table(&load, session)?;
        let store = Link::connect(server, &req(Role::Store), limit)?;
        Ok(Session {
            load,
            store,
            layout,
            table,
        })
    }

    /// The server's answer.
    pub fn rep(&self) -> &Rep {
        &self.load.rep
    }

    /// A slot's page.
    pub fn load(&self, slot: u64) -> Result<Vec<u8>, ClientError> {
        let mut page = vec![0; PAGE_BYTES as usize];
        self.load.read(self.place(slot)?, &mut page)?;
        Ok(page)
    }

    /// Stores a page in a slot.
    pub fn store(&self, slot: u64, page: &[u8]) -> Result<(), ClientError> {
        self.store.write(self.place(slot)?, page)
    }

    /// Tells the server that the memory is not needed any more, and leaves.
    pub fn release(self) -> Result<(), ClientError> {
        release(&self.store)
    }

    /// Where a slot is.
    pub fn place(&self, slot: u64) -> Result<Remote, ClientError> {
        let (addr, rkey) = self
            .layout
            .remote(&self.table, slot)
            .ok_or(ClientError::NoSlot)?;
        Ok(Remote { addr, rkey })
    }
}

/// READs and checks the chunk table.
pub fn read_table(link: &Link, session: u64) -> Result<(Layout, Vec<Chunk>), ClientError> {
    let rep = &link.rep;
    let layout = Layout::from_rep(rep)?;
    let len = table_len(layout.chunks());
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < len {
        let mut piece = vec![0; (len - at).min(SCRATCH as u64) as usize];
        link.read(
            Remote {
                addr: rep.table_addr + at,
                rkey: rep.table_rkey,
            },
            &mut piece,
        )?;
        at += piece.len() as u64;
        bytes.extend(piece);
    }
    let header = TableHeader::decode(&bytes)?;
    if (header.epoch, header.lease, header.session) != (rep.epoch, rep.lease, session) {
        return Err(ClientError::Table);
    }
    let entries = bytes[TABLE_HEADER_LEN..].chunks_exact(CHUNK_LEN);
    let table = entries.map(Chunk::decode).collect::<Result<_, _>>()?;
    Ok((layout, table))
}

/// Writes into the table that the lease is not needed any more.
pub fn release(link: &Link) -> Result<(), ClientError> {
    let remote = Remote {
        addr: link.rep.table_addr + TABLE_RELEASED_OFFSET,
        rkey: link.rep.table_rkey,
    };
    link.write(remote, &RELEASED.to_le_bytes())
}
