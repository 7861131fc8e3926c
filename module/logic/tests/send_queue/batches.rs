//! Which operations share a work request, which are posted, and which end, beside a model that
//! forms the requests of a list all at once.

use crate::adapter::{Adapter, Request};
use proptest::prelude::*;
use proptest::sample::Index;
use remoteswap_logic::bitmap::MAX_SLOTS;
use remoteswap_logic::send_queue::{Ending, Route, SendQueue, Verb};
use std::collections::VecDeque;

/// Where the next operation is at the peer.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// Behind the last one.
    Behind,
    /// There, by another key.
    OtherKey,
    /// There, the other way.
    OtherWay,
    /// A page further.
    Gap,
    /// The first page, or the last of all addresses.
    Far(bool),
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Hold(Next),
    /// By an adapter that takes so many requests.
    Post(usize),
    Complete {
        fail: bool,
    },
    Abandon,
}

fn next() -> impl Strategy<Value = Next> {
    prop_oneof![
        12 => Just(Next::Behind),
        1 => Just(Next::OtherKey),
        1 => Just(Next::OtherWay),
        1 => Just(Next::Gap),
        1 => any::<bool>().prop_map(Next::Far),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => next().prop_map(Step::Hold),
        3 => Just(Step::Post(usize::MAX)),
        1 => (0..4usize).prop_map(Step::Post),
        5 => prop::bool::weighted(0.1).prop_map(|fail| Step::Complete { fail }),
        1 => Just(Step::Abandon),
    ]
}

fn place(next: Next, last: Route) -> Route {
    let end = last.addr.wrapping_add(u64::from(last.len));
    let behind = Route { addr: end, ..last };
    match next {
        Next::Behind => behind,
        Next::OtherKey => Route {
            rkey: last.rkey ^ 1,
            ..behind
        },
        Next::OtherWay => Route {
            verb: match last.verb {
                Verb::Write => Verb::Read,
                Verb::Read => Verb::Write,
            },
            ..behind
        },
        Next::Gap => Route {
            addr: end.wrapping_add(4096),
            ..behind
        },
        Next::Far(top) => Route {
            addr: if top { u64::MAX - 4095 } else { 0 },
            ..behind
        },
    }
}

/// How many pieces a request may have.
#[derive(Clone, Copy, Debug)]
struct Most {
    write: usize,
    read: usize,
}

impl Most {
    fn of(self, verb: Verb) -> usize {
        match verb {
            Verb::Write => self.write,
            Verb::Read => self.read,
        }
    }
}

type Pieces = Vec<(u8, Route)>;

/// The work requests of a list of operations: as long as they can be.
fn requests(held: &[(u8, Route)], most: Most) -> Vec<Pieces> {
    let mut requests: Vec<Pieces> = Vec::new();
    for &(slot, route) in held {
        match requests.last_mut() {
            Some(last) if fits(last, route, most) => last.push((slot, route)),
            _ => requests.push(vec![(slot, route)]),
        }
    }
    requests
}

fn fits(request: &Pieces, next: Route, most: Most) -> bool {
    let (_, last) = request[request.len() - 1];
    let end = u128::from(last.addr) + u128::from(last.len);
    (last.verb, last.rkey, end) == (next.verb, next.rkey, next.addr.into())
        && request.len() < most.of(next.verb)
}

fn slots(requests: &[Pieces]) -> Vec<u8> {
    requests.iter().flatten().map(|(slot, _)| *slot).collect()
}

struct Model {
    most: Most,
    queue: SendQueue,
    adapter: Adapter,
    free: Vec<u8>,
    held: Pieces,
    posted: VecDeque<Pieces>,
    // Of those the last are not with the adapter.
    is_cut: bool,
    last: Route,
}

impl Model {
    fn new(most: Most, verb: Verb) -> Model {
        Model {
            most,
            queue: SendQueue::new(),
            adapter: Adapter::new(),
            free: (0..MAX_SLOTS as u8).collect(),
            held: Vec::new(),
            posted: VecDeque::new(),
            is_cut: false,
            last: Route {
                verb,
                len: 4096,
                addr: 1 << 20,
                rkey: 6,
            },
        }
    }

    fn hold(&mut self, next: Next, pick: Index) {
        let route = place(next, self.last);
        self.last = route;
        if self.free.is_empty() {
            return;
        }
        let slot = self.free.swap_remove(pick.index(self.free.len()));
        self.held.push((slot, route));
        let most = self.most.of(route.verb);
        self.adapter.hold(&mut self.queue, slot, route, most);
    }

    fn post(&mut self, most: usize) -> Result<(), TestCaseError> {
        let list = self.adapter.post(&mut self.queue, most);
        if self.is_cut {
            prop_assert!(list.is_empty(), "nothing follows what may not be there");
            return Ok(());
        }
        let expect = requests(&std::mem::take(&mut self.held), self.most);
        let given: Vec<_> = list.iter().map(|request| request.pieces.clone()).collect();
        prop_assert_eq!(&given, &expect);
        for (at, request) in list.iter().enumerate() {
            let Request {
                pieces, signalled, ..
            } = request;
            let asks = pieces[0].1.verb == Verb::Read || at + 1 == list.len();
            prop_assert_eq!(*signalled, asks, "request {} of {}", at, list.len());
        }
        self.is_cut = expect.len() > most;
        self.posted.extend(expect);
        Ok(())
    }

    /// One completion ends its request, and all before it. Whether there was one.
    fn complete(&mut self, fail: bool) -> Result<bool, TestCaseError> {
        let Some(completion) = self.adapter.complete(fail) else {
            return Ok(false);
        };
        let mut ending = Ending::of(completion.slot, &self.queue);
        let mut ended = Vec::new();
        while let Some(slot) = ending.next(&mut self.queue) {
            ended.push(slot);
        }
        let mut expect = Vec::new();
        while expect.last() != Some(&completion.slot) {
            let request = self.posted.pop_front();
            prop_assert!(request.is_some(), "it was posted");
            expect.extend(slots(request.as_slice()));
        }
        self.give_back(&ended, &expect)?;
        Ok(true)
    }

    fn abandon(&mut self) -> Result<(), TestCaseError> {
        self.adapter = Adapter::new();
        self.is_cut = false;
        let mut expect = slots(&self.posted.drain(..).collect::<Vec<_>>());
        expect.extend(self.held.drain(..).map(|(slot, _)| slot));
        let back: Vec<_> = self.queue.abandon().iter().copied().collect();
        self.give_back(&back, &expect)
    }

    fn give_back(&mut self, slots: &[u8], expect: &[u8]) -> Result<(), TestCaseError> {
        prop_assert_eq!(slots, expect);
        self.free.extend(slots);
        Ok(())
    }

    /// What can be asked about it.
    fn check(&self, asked: Next, window: usize) -> Result<(), TestCaseError> {
        let held = requests(&self.held, self.most);
        let count = held.len() + self.posted.len();
        prop_assert_eq!(self.queue.requests(), count);
        prop_assert_eq!(self.queue.held_len(), self.held.len());
        prop_assert!(self.queue.held().eq(slots(&held)));
        let route = place(asked, self.last);
        let joins = held.last().is_some_and(|last| fits(last, route, self.most));
        let room = self
            .queue
            .has_room(&route, self.most.of(route.verb), window);
        prop_assert_eq!(room, count < window || joins);
        Ok(())
    }
}

proptest! {
    #[test]
    fn requests_are_formed_posted_and_ended_in_order(
        (write, read) in (1..=16usize, 1..=16usize),
        is_write: bool,
        steps in prop::collection::vec((step(), any::<Index>(), next(), 0..8usize), 1..300),
    ) {
        let verb = if is_write { Verb::Write } else { Verb::Read };
        let mut model = Model::new(Most { write, read }, verb);
        for (step, pick, asked, window) in steps {
            match step {
                Step::Hold(next) => model.hold(next, pick),
                Step::Post(most) => model.post(most)?,
                Step::Complete { fail } => _ = model.complete(fail)?,
                Step::Abandon => model.abandon()?,
            }
            model.check(asked, window)?;
        }
        // Whatever was done, all of it ends; after a refusal with the session.
        model.post(usize::MAX)?;
        while model.complete(false)? {}
        if model.is_cut {
            model.abandon()?;
        }
        prop_assert_eq!(model.queue.requests(), 0);
        prop_assert_eq!(model.free.len(), MAX_SLOTS);
    }
}

/// An adapter may tell of something twice, and its slot be another operation's by then.
#[test]
fn a_completion_of_what_is_not_posted_ends_nothing() {
    let mut queue = SendQueue::new();
    let Model { last: route, .. } = Model::new(Most { write: 1, read: 1 }, Verb::Read);
    for slot in [4, 5] {
        queue.hold(slot, &route, 1);
        queue.posted(true);
    }
    queue.hold(6, &route, 1);
    for other in [6, 7] {
        assert_eq!(Ending::of(other, &queue).next(&mut queue), None);
    }
    let mut ending = Ending::of(5, &queue);
    assert_eq!(ending.next(&mut queue), Some(4));
    assert_eq!(ending.next(&mut queue), Some(5));
    assert_eq!(ending.next(&mut queue), None);
}

#[test]
fn no_more_are_held_than_there_can_be() {
    let mut queue = SendQueue::new();
    let Model { last: route, .. } = Model::new(Most { write: 1, read: 1 }, Verb::Read);
    for slot in 0..MAX_SLOTS as u8 {
        assert!(queue.hold(slot, &route, 1).is_some());
    }
    assert_eq!(queue.hold(0, &route, 1), None);
    assert_eq!((queue.held_len(), queue.requests()), (MAX_SLOTS, MAX_SLOTS));
}
