//! Loads and stores as `module/load.rs` and `module/store.rs` have them, on the adapter: the same
//! types do the work, and only what sleeps, what locks and what fails is made up.

use crate::adapter::Adapter;
use remoteswap_logic::backlog::{Backlog, Stop, Waiting};
use remoteswap_logic::bitmap::{Bitmap, MAX_SLOTS};
use remoteswap_logic::credits::{Credit, Semaphore};
use remoteswap_logic::send_queue::{Ending, Route, SendQueue, Slots, Verb};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// Operations that may be under way at a time, at most.
pub const LIMIT: usize = 6;

/// One that has its credit.
struct Operation {
    id: u32,
    place: Option<Route>,
    due: u64,
    credit: Credit,
}

impl Waiting for Operation {
    fn due(&self) -> u64 {
        self.due
    }
}

/// How one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Done,
    /// Of a store.
    Failed,
    /// Never taken in.
    Declined,
    TimedOut,
    /// What it was for is gone.
    Gone,
}

/// What an adapter and a device can do to it.
pub struct World {
    pub now: Cell<u64>,
    /// Nothing completes while somebody waits for a credit.
    pub is_slow: Cell<bool>,
    /// No memory can be mapped.
    pub maps_nothing: Cell<bool>,
    /// Requests that are taken at a time.
    pub most_posted: Cell<usize>,
    /// The session is to end.
    pub has_failed: Cell<bool>,
}

/// `Loads` or `Stores`, with their pool.
pub struct Traffic {
    pub world: World,
    pub credits: Cell<usize>,
    depth: usize,
    // What is read is loads.
    verb: Verb,
    most_pieces: usize,
    // Of READs; `None` while there is no session.
    window: Cell<Option<usize>>,
    backlog: RefCell<Backlog<Operation, [Option<Operation>; LIMIT]>>,
    claimed: Bitmap,
    slots: RefCell<[Option<Operation>; MAX_SLOTS]>,
    queue: RefCell<SendQueue>,
    adapter: RefCell<Adapter>,
    // A list was refused, and nothing is posted behind it.
    is_cut: Cell<bool>,
    begun: Cell<u32>,
    pub ended: RefCell<BTreeMap<u32, End>>,
}

/// While it is waited for, the adapter goes on.
impl Semaphore for Traffic {
    fn try_down(&self) -> bool {
        let left = self.credits.get().checked_sub(1);
        left.inspect(|left| self.credits.set(*left)).is_some()
    }

    fn down_timeout(&self, _timeout_ms: u32) -> bool {
        while !self.world.is_slow.get() && self.credits.get() == 0 && self.complete(false) {}
        self.try_down()
    }

    fn up(&self) {
        self.credits.set(self.credits.get() + 1);
        assert!(self.credits.get() <= self.depth, "given back twice");
    }
}

impl Traffic {
    /// Without a session.
    pub fn new(verb: Verb, depth: usize, most_pieces: usize) -> Traffic {
        Traffic {
            world: World {
                now: Cell::new(0),
                is_slow: Cell::new(false),
                maps_nothing: Cell::new(false),
                most_posted: Cell::new(usize::MAX),
                has_failed: Cell::new(false),
            },
            credits: Cell::new(depth),
            depth,
            verb,
            most_pieces,
            window: Cell::new(None),
            backlog: RefCell::new(Backlog::of([const { None }; LIMIT])),
            claimed: Bitmap::new(LIMIT).expect("few"),
            slots: RefCell::new([const { None }; MAX_SLOTS]),
            queue: RefCell::new(SendQueue::new()),
            adapter: RefCell::new(Adapter::new()),
            is_cut: Cell::new(false),
            begun: Cell::new(0),
            ended: RefCell::new(BTreeMap::new()),
        }
    }

    pub fn is_open(&self) -> bool {
        self.window.get().is_some()
    }

    pub fn open(&self, window: usize) {
        self.window.set(Some(window));
        self.world.has_failed.set(false);
        self.push();
    }

    /// `close`, the drain and `drained`. Not every adapter tells of what ends by that.
    pub fn shut(&self, tells: bool) {
        self.window.set(None);
        while tells && self.complete(true) {}
        // The next queue pair is another.
        self.adapter.replace(Adapter::new());
        self.is_cut.set(false);
        let back = self.queue.borrow_mut().abandon();
        self.each(back, |one| self.completed(one, false));
    }

    /// `Loads::accept` or `Stores::take`, of a page that is at this place.
    pub fn begin(&self, place: Option<Route>, due: u64) {
        let id = self.begun.replace(self.begun.get() + 1);
        if self.verb == Verb::Write && !self.is_open() {
            return self.ends(id, End::Declined);
        }
        let Some(credit) = self.take(0, || self.push()) else {
            return self.ends(id, End::Declined);
        };
        let one = Operation {
            id,
            place,
            due,
            credit,
        };
        match self.verb {
            Verb::Read => self.park(one),
            Verb::Write => self
                .store(one)
                .unwrap_or_else(|one| self.end(one, End::Declined)),
        }
    }

    /// `Stores::take_with_credit`.
    fn store(&self, one: Operation) -> Result<(), Operation> {
        match one.place.filter(|_| self.is_open()) {
            Some(route) => self.hold(one, route).map_err(|(one, _)| one),
            None => Err(one),
        }
    }

    /// `Loads::pump` or `Stores::commit`.
    pub fn push(&self) {
        while let Some(window) = self.window.get() {
            let stop = self.backlog.borrow_mut().pump(
                self.world.now.get(),
                |one| one.place,
                |route| self.has_room(route, window),
                |one, route| self.hold(one, route),
            );
            self.commit();
            match stop {
                Stop::Waiting => return,
                Stop::Over(one) => self.times_out(one),
                Stop::Nowhere(one) => self.end(one, End::Gone),
                Stop::Refused(one, NoMemory) => return self.park(one),
            }
        }
    }

    /// `Loads::expire`.
    pub fn expire(&self) {
        let next = || self.backlog.borrow_mut().expired(self.world.now.get());
        std::iter::from_fn(next).for_each(|one| self.times_out(one));
    }

    /// `Loads::lose`.
    pub fn lose(&self) {
        let next = || self.backlog.borrow_mut().pop();
        std::iter::from_fn(next).for_each(|one| self.end(one, End::Gone));
    }

    /// The adapter goes on to its next completion, if there is one: `Pool::completed`.
    pub fn complete(&self, fail: bool) -> bool {
        if fail {
            self.world.has_failed.set(true);
        }
        let Some(completion) = self.adapter.borrow_mut().complete(fail) else {
            return false;
        };
        let mut ending = Ending::of(completion.slot, &self.queue.borrow());
        let next = || ending.next(&mut self.queue.borrow_mut());
        for slot in std::iter::from_fn(next) {
            let one = self.take_out(slot);
            self.completed(one, completion.ok);
        }
        true
    }

    /// What must be so at any time.
    pub fn check(&self) {
        let waiting = self.backlog.borrow().len();
        let pooled = self.slots.borrow().iter().flatten().count();
        let queue = self.queue.borrow();
        assert_eq!(
            self.credits.get() + waiting + pooled,
            self.depth,
            "one for each"
        );
        let ended = self.ended.borrow().len();
        assert_eq!(ended + waiting + pooled, self.begun.get() as usize);
        assert_eq!(self.claimed.is_full(), pooled == LIMIT);
        if let (Verb::Read, Some(window)) = (self.verb, self.window.get()) {
            assert!(queue.requests() <= window, "{} READs", queue.requests());
            assert!(
                queue.held_len() == 0 || self.is_cut.get(),
                "posted, or not taken out"
            );
        }
    }

    /// How many wait, and how many the adapter has not told of.
    pub fn left(&self) -> (usize, bool) {
        (self.backlog.borrow().len(), self.adapter.borrow().is_busy())
    }

    fn has_room(&self, route: &Route, window: usize) -> bool {
        let queue = self.queue.borrow();
        !self.claimed.is_full() && queue.has_room(route, self.most_pieces, window)
    }

    /// `Pool::hold`.
    fn hold(&self, one: Operation, route: Route) -> Result<(), (Operation, NoMemory)> {
        if self.world.maps_nothing.get() {
            return Err((one, NoMemory));
        }
        if self.verb == Verb::Read {
            assert!(one.due > self.world.now.get(), "it has had its time");
        }
        let slot = self.claimed.claim().expect("one for each credit");
        let before = self.slots.borrow_mut()[usize::from(slot)].replace(one);
        assert!(before.is_none(), "slot {slot} is free");
        let queue = &mut self.queue.borrow_mut();
        self.adapter
            .borrow_mut()
            .hold(queue, slot, route, self.most_pieces);
        Ok(())
    }

    /// `Pool::commit`.
    fn commit(&self) {
        let most = self.world.most_posted.get();
        let mut adapter = self.adapter.borrow_mut();
        let list = adapter.post(&mut self.queue.borrow_mut(), most);
        if list.len() > most {
            self.is_cut.set(true);
            self.world.has_failed.set(true);
        }
    }

    fn each(&self, mut slots: Slots, act: impl Fn(Operation)) {
        while let Some(slot) = slots.pop() {
            act(self.take_out(slot));
        }
    }

    /// `Pool::take`.
    fn take_out(&self, slot: u8) -> Operation {
        let one = self.slots.borrow_mut()[usize::from(slot)].take();
        self.claimed.release(slot);
        one.expect("the slot is its")
    }

    fn completed(&self, one: Operation, ok: bool) {
        if !ok {
            self.world.has_failed.set(true);
        }
        match (self.verb, ok) {
            (Verb::Read, false) => self.park(one),
            (Verb::Write, false) => self.end(one, End::Failed),
            (_, true) => self.end(one, End::Done),
        }
        if ok && self.verb == Verb::Read {
            self.push();
        }
    }

    fn park(&self, one: Operation) {
        let parked = self.backlog.borrow_mut().park(one);
        assert!(parked.is_ok(), "its credit says that there is room");
    }

    fn times_out(&self, one: Operation) {
        assert!(one.due <= self.world.now.get(), "it has time");
        self.end(one, End::TimedOut);
    }

    fn end(&self, one: Operation, end: End) {
        self.ends(one.id, end);
        self.give(one.credit);
    }

    fn ends(&self, id: u32, end: End) {
        let before = self.ended.borrow_mut().insert(id, end);
        assert_eq!(before, None, "operation {id} ended twice");
    }
}

/// The device maps no more.
struct NoMemory;
