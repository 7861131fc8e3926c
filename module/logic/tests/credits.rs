//! Credits in two shares, against counting them.

use std::cell::Cell;

use proptest::prelude::*;
use remoteswap_logic::credits::{Semaphore, Shared, Shares};

/// Nobody comes while somebody waits, so a wait is over at once.
struct Count(Cell<usize>);

impl Semaphore for Count {
    fn try_down(&self) -> bool {
        let left = self.0.get().checked_sub(1);
        left.map(|left| self.0.set(left)).is_some()
    }

    fn down_timeout(&self, _timeout_ms: u32) -> bool {
        self.try_down()
    }

    fn up(&self) {
        self.0.set(self.0.get() + 1);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Take { demand: bool },
    Give(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<bool>().prop_map(|demand| Step::Take { demand }),
        any::<usize>().prop_map(Step::Give),
    ]
}

proptest! {
    #[test]
    fn what_is_reserved_is_for_demand_alone(
        common in 0usize..6,
        reserved in 0usize..6,
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let (all, few) = (Count(Cell::new(common)), Count(Cell::new(reserved)));
        let shares = Shares { common: &all, reserved: &few };
        let mut taken: Vec<(bool, Shared)> = Vec::new();
        for step in steps {
            match step {
                Step::Take { demand } => {
                    let left = all.0.get() + if demand { few.0.get() } else { 0 };
                    let mut posted = false;
                    let credit = shares.take(demand, 0, || posted = true);
                    prop_assert_eq!(credit.is_some(), left > 0);
                    // What is held back is let go of before anybody waits, and only then.
                    prop_assert_eq!(posted, left == 0);
                    taken.extend(credit.map(|credit| (demand, credit)));
                }
                Step::Give(_) if taken.is_empty() => {}
                Step::Give(which) => shares.give(taken.swap_remove(which % taken.len()).1),
            }
            let others = taken.iter().filter(|(demand, _)| !demand).count();
            prop_assert!(others <= common);
            prop_assert_eq!(taken.len() + all.0.get() + few.0.get(), common + reserved);
            prop_assert!(all.0.get() <= common && few.0.get() <= reserved);
        }
        for (_, credit) in taken {
            shares.give(credit);
        }
        prop_assert_eq!((all.0.get(), few.0.get()), (common, reserved));
    }
}
