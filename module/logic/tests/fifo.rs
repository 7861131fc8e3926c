//! The queue of fixed size beside one of the standard library.

use proptest::prelude::*;
use remoteswap_logic::fifo::Fifo;
use std::collections::VecDeque;

const ROOM: usize = 5;

#[derive(Clone, Copy, Debug)]
enum Step {
    Push,
    Pop,
    /// The first that has this remainder.
    Take(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Push),
        2 => Just(Step::Pop),
        2 => (0..4u32).prop_map(Step::Take),
    ]
}

proptest! {
    #[test]
    fn it_is_a_queue(steps in prop::collection::vec(step(), 1..200)) {
        let mut fifo = Fifo::<u32, ROOM>::new();
        let mut model = VecDeque::new();
        for (item, step) in (0..).zip(steps) {
            match step {
                Step::Push if model.len() == ROOM => prop_assert_eq!(fifo.push(item), Err(item)),
                Step::Push => {
                    prop_assert_eq!(fifo.push(item), Ok(()));
                    model.push_back(item);
                }
                Step::Pop => prop_assert_eq!(fifo.pop(), model.pop_front()),
                Step::Take(rest) => {
                    let at = model.iter().position(|item| item % 4 == rest);
                    let expect = at.and_then(|at| model.remove(at));
                    prop_assert_eq!(fifo.take(|item| item % 4 == rest), expect);
                }
            }
            prop_assert_eq!(fifo.len(), model.len());
            prop_assert_eq!(fifo.is_empty(), model.is_empty());
            prop_assert_eq!(fifo.first(), model.front());
            prop_assert_eq!(fifo.last(), model.back());
            prop_assert!(fifo.iter().eq(&model));
        }
    }
}

#[test]
fn without_room_it_is_empty_and_full() {
    let mut none = Fifo::<u32, 0>::new();
    assert_eq!(none.push(1), Err(1));
    assert_eq!((none.first(), none.last()), (None, None));
    assert_eq!((none.pop(), none.take(|_| true)), (None, None));
    assert_eq!(none.iter().count(), 0);
}
