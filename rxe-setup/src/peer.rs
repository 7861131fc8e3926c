//! One side of a proof: its memory, its connection, its turns.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::random;
use rand::seq::SliceRandom;
use rapidswap_verbs::{
    Access, CompletionQueue, ConnectParams, Connection, Domain, Error, Event, EventChannel,
    EventKind, Id, Memory, Region, Remote,
};

use crate::exchange::{Data, HELLO_LEN, Hello, NOTE_LEN, Note, PAGE, differences, page};

/// Requests outstanding at once: as many READs as every adapter takes.
const OUTSTANDING: u16 = 16;
/// Notes that a side receives in a round at most.
const NOTES: u16 = 2;
/// Request numbers from here on are receives.
const RECEIVE: u64 = 1 << 32;
/// How often the connection's events are looked at while completions are awaited.
const LOOK: Duration = Duration::from_millis(5);

/// How much two sides are to move over one connection. Both need the same.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// READs, and WRITEs, of each side in a round.
    pub count: u32,
    /// Rounds, each with pages of its own: what one has moved proves nothing in
    /// the next.
    pub rounds: u16,
}

impl Extent {
    fn pages(&self) -> u32 {
        self.count * u32::from(self.rounds)
    }

    fn pages_of(&self, round: u16) -> Range<u32> {
        let first = u32::from(round) * self.count;
        first..first + self.count
    }

    fn notes(&self) -> u16 {
        self.rounds * NOTES
    }
}

/// A READ or a WRITE of one page.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Read(u32),
    Write(u32),
}

/// One side, with its memory registered.
#[derive(Debug)]
pub struct Peer {
    connection: Connection,
    channel: EventChannel,
    /// Pages to be READ, then pages to be WRITTEN, by the other side.
    open: Region,
    /// Pages that were READ, pages to WRITE, notes.
    own: Region,
    extent: Extent,
    seed: u64,
    deadline: Instant,
    outstanding: u16,
    /// Notes that have come, and those of them that were looked at.
    received: u16,
    taken: u16,
    /// Why the connection is over.
    end: Option<&'static str>,
    /// A connection request that came in the middle of this attempt.
    pub next_request: Option<Event>,
}

impl Peer {
    /// Prepares memory and queue pair on `id`.
    pub fn new(
        id: Arc<Id>,
        channel: &EventChannel,
        extent: Extent,
        deadline: Instant,
    ) -> Result<Peer> {
        let notes = extent.notes();
        let domain = Domain::new(&id)?;
        let queue = CompletionQueue::new(&domain, OUTSTANDING + notes + 2)?;
        let seed = random();
        let pages = extent.pages() as usize;
        let open = Memory::map(2 * pages * PAGE)?;
        let own = Memory::map((2 * pages + 1) * PAGE)?;
        for index in 0..extent.pages() {
            let at = index as usize * PAGE;
            open.write(at, &page(seed, Data::Source, index))?;
            own.write(pages * PAGE + at, &page(seed, Data::Written, index))?;
        }
        let memlock = "cannot register memory: is RLIMIT_MEMLOCK (ulimit -l) too low?";
        let open = domain
            .register(&Arc::new(open), Access::Remote)
            .context(memlock)?;
        let own = domain
            .register(&Arc::new(own), Access::Local)
            .context(memlock)?;
        let connection = Connection::new(id, &domain, &queue, OUTSTANDING + 1, notes)?;
        let peer = Peer {
            connection,
            channel: channel.clone(),
            open,
            own,
            extent,
            seed,
            deadline,
            outstanding: 0,
            received: 0,
            taken: 0,
            end: None,
            next_request: None,
        };
        for n in 0..notes {
            let at = peer.note_at(n);
            peer.connection
                .post_receive(RECEIVE + u64::from(n), &peer.own, at, NOTE_LEN)?;
        }
        Ok(peer)
    }

    fn note_at(&self, n: u16) -> usize {
        2 * self.extent.pages() as usize * PAGE + usize::from(n) * 64
    }

    fn hello(&self) -> [u8; HELLO_LEN] {
        let (addr, rkey) = (self.open.addr(), self.open.rkey());
        Hello {
            addr,
            rkey,
            count: self.extent.pages(),
            seed: self.seed,
        }
        .encode()
    }

    /// Connects and learns where the other side's memory is.
    pub fn connect(&self) -> Result<Hello> {
        self.connection.connect(params(&self.hello()))?;
        let event = self
            .channel
            .next(self.deadline, "waiting for the other side's answer")?;
        match event.kind {
            EventKind::Established => self.check(Hello::decode(&event.private_data)),
            EventKind::Rejected => bail!("nobody listens there (status {})", event.status),
            _ => Err(Error::Connection {
                event: event.name,
                status: event.status,
            }
            .into()),
        }
    }

    /// Accepts the connection request that came with `private_data`.
    pub fn accept(&self, private_data: &[u8]) -> Result<Hello> {
        let hello = self.check(Hello::decode(private_data))?;
        self.connection.accept(params(&self.hello()))?;
        Ok(hello)
    }

    fn check(&self, hello: Option<Hello>) -> Result<Hello> {
        let hello = hello.context("the other side is not a proof of this version")?;
        let pages = self.extent.pages();
        if hello.count != pages {
            bail!("the other side has {} pages, this one {pages}", hello.count);
        }
        Ok(hello)
    }

    /// Gives it until then from now on.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// Waits without a deadline, and without taking much of a processor, until
    /// the other side says something.
    pub fn rest(&mut self) -> Result<()> {
        while self.received == self.taken {
            std::thread::sleep(LOOK);
            self.look(Instant::now())?;
        }
        Ok(())
    }

    /// Reads and writes the other side's memory; wrong bytes among those read.
    pub fn take_turn(&mut self, other: &Hello, round: u16) -> Result<u64> {
        let range = self.extent.pages_of(round);
        let mut operations: Vec<Operation> = range
            .clone()
            .flat_map(|index| [Operation::Read(index), Operation::Write(index)])
            .collect();
        operations.shuffle(&mut rand::rng());
        let pages = self.extent.pages() as usize;
        let remote = |n: usize| Remote {
            addr: other.addr + (n * PAGE) as u64,
            rkey: other.rkey,
        };
        for operation in operations {
            while self.outstanding >= OUTSTANDING {
                self.pump()?;
            }
            match operation {
                Operation::Read(i) => {
                    let i = i as usize;
                    self.connection
                        .post_read(1, &self.own, i * PAGE, PAGE, remote(i))?;
                }
                Operation::Write(i) => {
                    let i = pages + i as usize;
                    self.connection
                        .post_write(2, &self.own, i * PAGE, PAGE, remote(i))?;
                }
            }
            self.outstanding += 1;
        }
        while self.outstanding > 0 {
            self.pump()?;
        }
        self.compare(&self.own, 0, range, other.seed, Data::Source)
    }

    /// Wrong bytes among those the other side has written here.
    pub fn check_written(&self, other: &Hello, round: u16) -> Result<u64> {
        let (first, range) = (self.extent.pages(), self.extent.pages_of(round));
        self.compare(&self.open, first as usize, range, other.seed, Data::Written)
    }

    fn compare(
        &self,
        region: &Region,
        first: usize,
        range: Range<u32>,
        seed: u64,
        data: Data,
    ) -> Result<u64> {
        let mut bad = 0;
        let mut seen = [0; PAGE];
        for index in range {
            region
                .memory()
                .read((first + index as usize) * PAGE, &mut seen)?;
            bad += differences(&seen, &page(seed, data, index));
        }
        Ok(bad)
    }

    /// Tells the other side. That it has the note is known from its answer.
    pub fn post(&mut self, note: Note) -> Result<()> {
        let at = self.note_at(self.extent.notes());
        self.own.memory().write(at, &note.encode())?;
        self.connection.post_send(3, &self.own, at, NOTE_LEN)?;
        self.outstanding += 1;
        Ok(())
    }

    /// Tells the other side; returns once it has the note.
    pub fn send(&mut self, note: Note) -> Result<()> {
        self.post(note)?;
        while self.outstanding > 0 {
            self.pump()?;
        }
        Ok(())
    }

    /// Waits for the other side's next note.
    pub fn receive(&mut self) -> Result<Note> {
        while self.received == self.taken {
            self.pump()?;
        }
        let mut bytes = [0; NOTE_LEN];
        self.own
            .memory()
            .read(self.note_at(self.taken), &mut bytes)?;
        self.taken += 1;
        Note::decode(&bytes).context("the other side's note makes no sense")
    }

    /// Waits for the other side to disconnect, or until the deadline. A queue
    /// pair that is destroyed at once may not have acknowledged the last note,
    /// and the other side would take this for a failure and start again.
    pub fn part(&mut self) -> Result<()> {
        while self.end.is_none() {
            match self.channel.next(self.deadline, "it does not disconnect") {
                Ok(event) => self.heed(event),
                Err(Error::TimedOut(_)) => break,
                Err(error) => return Err(error.into()),
            }
        }
        ensure!(self.next_request.is_none(), "the other side starts again");
        Ok(())
    }

    /// Takes in one completion.
    fn pump(&mut self) -> Result<()> {
        while !self.look(self.deadline.min(Instant::now() + LOOK))? {
            if Instant::now() >= self.deadline {
                return Err(Error::TimedOut("the other side does not answer").into());
            }
        }
        Ok(())
    }

    /// Takes in one completion if there is one until then; whether there was.
    /// What completed before the end still counts.
    fn look(&mut self, until: Instant) -> Result<bool> {
        let queue = self.connection.queue();
        match (queue.wait(until, "nothing completed"), self.end) {
            (Ok(number), _) => {
                self.completed(number);
                return Ok(true);
            }
            (Err(Error::TimedOut(_)), Some(why)) => bail!("{why}"),
            (Err(Error::TimedOut(_)), None) => {}
            (Err(error), _) => return Err(error.into()),
        }
        if let Some(event) = self.channel.try_next()? {
            self.heed(event);
        }
        Ok(false)
    }

    fn completed(&mut self, number: u64) {
        if number >= RECEIVE {
            self.received += 1;
        } else {
            self.outstanding = self.outstanding.saturating_sub(1);
        }
    }

    /// Takes in one event.
    fn heed(&mut self, event: Event) {
        match event.kind {
            EventKind::ConnectRequest { .. } => {
                self.next_request = Some(event);
                self.end = Some("the other side starts again");
            }
            EventKind::Disconnected | EventKind::Rejected | EventKind::DeviceRemoval
                if event.key == self.connection.key() =>
            {
                self.end.get_or_insert(event.name);
            }
            _ => {}
        }
    }
}

fn params(hello: &[u8]) -> ConnectParams<'_> {
    ConnectParams {
        private_data: hello,
        responder_resources: OUTSTANDING as u8,
        initiator_depth: OUTSTANDING as u8,
        retry_count: 7,
        rnr_retry_count: 7,
    }
}
