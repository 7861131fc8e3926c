//! The session under every order of events.

use proptest::prelude::*;
use remoteswap_logic::session::*;

const A: Lease = Lease { epoch: 1, lease: 1 };
const B: Lease = Lease { epoch: 1, lease: 2 };

/// Brings a session from a due attempt to up.
fn bring_up(s: &mut Session, lease: Lease, now: u64) -> Action {
    assert!(matches!(s.on(Event::Tick, now), Action::Connect));
    assert_eq!(s.on(Event::LoadUp(lease), now), Action::ReadTable);
    assert_eq!(s.on(Event::TableRead, now), Action::JoinStore);
    s.on(Event::StoreUp, now)
}

/// Takes it down; the time the next attempt is due.
fn take_down(s: &mut Session, now: u64) -> u64 {
    assert_eq!(
        s.on(Event::Failed, now),
        Action::TearDown { release: false }
    );
    assert_eq!(s.on(Event::Drained, now), Action::None);
    s.wake_at().unwrap()
}

#[test]
fn pages_are_lost_only_with_their_lease() {
    let mut s = Session::new(0);
    assert_eq!(s.name(), "connecting");
    assert_eq!(bring_up(&mut s, A, 0), Action::Open { lose: false });
    assert_eq!(s.name(), "up");
    let due = take_down(&mut s, 1);
    assert_eq!(s.name(), "down");
    assert_eq!(bring_up(&mut s, A, due), Action::Open { lose: false });
    let due = take_down(&mut s, due);
    assert_eq!(bring_up(&mut s, B, due), Action::Open { lose: true });
}

#[test]
fn a_lease_seen_but_never_opened_loses_nothing_yet() {
    let mut s = Session::new(0);
    bring_up(&mut s, A, 0);
    let due = take_down(&mut s, 0);
    s.on(Event::Tick, due);
    s.on(Event::LoadUp(B), due);
    let due = take_down(&mut s, due);
    assert_eq!(bring_up(&mut s, A, due), Action::Open { lose: false });
}

#[test]
fn pauses_double_and_a_long_session_forgives() {
    let mut now = 10;
    let mut s = Session::new(now);
    for expect in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
        assert_eq!(s.on(Event::Tick, now - 1), Action::None, "too early");
        assert!(matches!(s.on(Event::Tick, now), Action::Connect));
        let due = take_down(&mut s, now);
        assert_eq!(due - now, expect);
        now = due;
    }
    bring_up(&mut s, A, now);
    let due = take_down(&mut s, now + 10);
    assert_eq!(due - (now + 10), 5000, "it did not last");
    bring_up(&mut s, A, due);
    now = due + BACKOFF_MAX_MS;
    assert_eq!(take_down(&mut s, now) - now, 100);
}

#[test]
fn an_attempt_has_a_deadline() {
    let mut s = Session::new(0);
    s.on(Event::Tick, 0);
    s.on(Event::LoadUp(A), 1);
    assert_eq!(s.wake_at(), Some(CONNECT_TIMEOUT_MS));
    assert_eq!(s.on(Event::Tick, CONNECT_TIMEOUT_MS - 1), Action::None);
    assert_eq!(
        s.on(Event::Tick, CONNECT_TIMEOUT_MS),
        Action::TearDown { release: false }
    );
}

#[test]
fn stopping_releases_only_what_is_held() {
    let mut s = Session::new(0);
    bring_up(&mut s, A, 0);
    assert_eq!(s.on(Event::Stop, 1), Action::TearDown { release: true });
    assert_eq!(s.on(Event::Drained, 2), Action::Finished);
    let mut s = Session::new(0);
    assert_eq!(s.on(Event::Stop, 0), Action::Finished);
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Tick),
        3 => prop_oneof![Just(A), Just(B)].prop_map(Event::LoadUp),
        3 => Just(Event::TableRead),
        3 => Just(Event::StoreUp),
        1 => Just(Event::Failed),
        2 => Just(Event::Drained),
    ]
}

proptest! {
    #[test]
    fn whatever_happens(
        events in prop::collection::vec((event(), 0u64..3000), 1..400),
        stop_at in prop::option::of(0usize..400),
    ) {
        let mut s = Session::new(0);
        let (mut now, mut last, mut draining, mut connected, mut finished) = (0, 0, false, false, false);
        // The lease the pages are in, as the driver knows it.
        let (mut offered, mut held) = (None, None);
        for (i, (event, pause)) in events.into_iter().enumerate() {
            now += pause;
            let event = if Some(i) == stop_at { Event::Stop } else { event };
            if let Event::LoadUp(lease) = event {
                if connected && offered.is_none() { offered = Some(lease); }
            }
            match s.on(event, now) {
                Action::Connect => {
                    prop_assert!(!draining && !finished && s.number() == last + 1);
                    (last, connected, offered) = (s.number(), true, None);
                }
                Action::ReadTable | Action::JoinStore => prop_assert!(connected && !draining),
                Action::Open { lose } => {
                    prop_assert!(connected && !draining && !finished);
                    prop_assert_eq!(lose, held.is_some() && held != offered);
                    held = offered;
                }
                Action::TearDown { .. } => {
                    prop_assert!(connected && !draining);
                    (connected, draining) = (false, true);
                }
                Action::Finished => { prop_assert!(!connected); finished = true; }
                Action::None => {}
            }
            if event == Event::Drained { draining = false; }
            prop_assert!(!(s.is_up() && draining));
            if !s.is_up() && !draining && !finished { prop_assert!(s.wake_at().is_some()); }
        }
    }
}
