//! However operations end, no more are under way than there are credits, and each gives back its
//! own.

use crate::traffic::{End, LIMIT, Traffic};
use proptest::prelude::*;
use remoteswap_logic::credits::Semaphore;
use remoteswap_logic::send_queue::{Route, Verb};

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A load or store of this page, if the server has it, which has so much time.
    Begin {
        page: Option<u64>,
        time: u64,
    },
    /// The same, and nothing completes while it waits for a credit.
    BeginSlowly {
        page: Option<u64>,
        time: u64,
    },
    Push,
    Complete {
        fail: bool,
    },
    /// Adapters that take so many requests, or map nothing, until the next session.
    Refuse {
        most: usize,
    },
    MapNothing(bool),
    Pass(u64),
    Open {
        window: usize,
    },
    Shut {
        tells: bool,
    },
    /// What waits.
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    let page = prop::option::weighted(0.95, 0..6u64);
    let begin = (page, 1..60u64);
    prop_oneof![
        20 => begin.clone().prop_map(|(page, time)| Step::Begin { page, time }),
        2 => begin.prop_map(|(page, time)| Step::BeginSlowly { page, time }),
        8 => Just(Step::Push),
        8 => prop::bool::weighted(0.15).prop_map(|fail| Step::Complete { fail }),
        1 => (0..3usize).prop_map(|most| Step::Refuse { most }),
        1 => any::<bool>().prop_map(Step::MapNothing),
        4 => (0..20u64).prop_map(Step::Pass),
        4 => (1..=LIMIT).prop_map(|window| Step::Open { window }),
        2 => any::<bool>().prop_map(|tells| Step::Shut { tells }),
        1 => Just(Step::Lose),
    ]
}

fn route(verb: Verb, page: u64) -> Route {
    Route {
        verb,
        len: 4096,
        addr: page * 4096,
        rkey: 1,
    }
}

fn begin(traffic: &Traffic, verb: Verb, page: Option<u64>, time: u64) {
    let place = page.map(|page| route(verb, page));
    traffic.begin(place, traffic.world.now.get() + time);
}

fn heal(traffic: &Traffic, window: usize) {
    if traffic.is_open() {
        traffic.shut(true);
    }
    traffic.world.maps_nothing.set(false);
    traffic.world.most_posted.set(usize::MAX);
    traffic.open(window);
}

fn declined(traffic: &Traffic) -> usize {
    let ended = traffic.ended.borrow();
    ended.values().filter(|end| **end == End::Declined).count()
}

fn act(traffic: &Traffic, verb: Verb, step: Step) {
    let world = &traffic.world;
    match step {
        Step::Begin { page, time } => {
            let is_well = traffic.is_open()
                && !world.has_failed.get()
                && !world.maps_nothing.get()
                && world.most_posted.get() == usize::MAX
                && page.is_some();
            let before = declined(traffic);
            begin(traffic, verb, page, time);
            if is_well {
                assert_eq!(
                    declined(traffic),
                    before,
                    "others end, so there is a credit"
                );
            }
        }
        Step::BeginSlowly { page, time } => {
            world.is_slow.set(true);
            begin(traffic, verb, page, time);
            world.is_slow.set(false);
        }
        Step::Push => traffic.push(),
        Step::Complete { fail } => {
            let _ = traffic.is_open() && traffic.complete(fail);
        }
        Step::Refuse { most } => world.most_posted.set(most),
        Step::MapNothing(nothing) => world.maps_nothing.set(nothing),
        Step::Pass(time) => {
            world.now.set(world.now.get() + time);
            traffic.expire();
        }
        Step::Open { window } => heal(traffic, window),
        Step::Shut { tells } => traffic.shut(tells),
        Step::Lose => traffic.lose(),
    }
}

proptest! {
    #[test]
    fn each_comes_back_once(
        is_load: bool,
        depth in 1..=LIMIT,
        most_pieces in 1..=4usize,
        steps in prop::collection::vec(step(), 1..200),
        ends_well: bool,
    ) {
        let (verb, depth) = if is_load { (Verb::Read, LIMIT) } else { (Verb::Write, depth) };
        let traffic = Traffic::new(verb, depth, most_pieces);
        for step in steps {
            act(&traffic, verb, step);
            traffic.check();
        }
        if ends_well {
            // Whatever went wrong before, with a session that works nothing is left behind.
            heal(&traffic, 1);
            while traffic.complete(false) {}
            prop_assert_eq!(traffic.left(), (0, false));
        } else {
            traffic.shut(false);
            traffic.lose();
        }
        traffic.check();
        prop_assert_eq!(traffic.credits.get(), depth);
    }
}

#[test]
fn what_is_held_back_is_posted_before_anybody_waits() {
    let traffic = Traffic::new(Verb::Write, 2, 1);
    traffic.open(1);
    for page in 0..3 {
        begin(&traffic, Verb::Write, Some(page), 10);
    }
    assert_eq!(declined(&traffic), 0);
    assert_eq!(traffic.ended.borrow().get(&0), Some(&End::Done));
}

#[test]
fn nobody_posts_or_waits_while_there_is_a_credit() {
    let traffic = Traffic::new(Verb::Read, 1, 1);
    let credit = traffic.take(0, || unreachable!("there is one"));
    let credit = credit.expect("there is one");
    assert!(traffic.take(0, || ()).is_none());
    traffic.give(credit);
    assert_eq!(traffic.credits.get(), 1);
}
