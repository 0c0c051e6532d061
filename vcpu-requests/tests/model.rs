// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Random operations by one thread, beside a model of plain fields.

#![cfg(not(loom))]
#![allow(clippy::panic, reason = "all of this is tests")]

use std::collections::BTreeSet;
use std::mem;

use proptest::prelude::*;
use vcpu_requests::{
    Flags, InGuest, Kick, Made, Mode, NotEntered, Request, RequestSet, Sleeping, Ticket,
    VcpuRequests, requests,
};

requests! {
    /// Every combination of flags, at both ends of the word and between.
    enum Ask {
        Plain = 0,
        Wait = 1: WAIT,
        Quiet = 2: NO_WAKEUP,
        Poke = 3: NO_ACTION,
        QuietWait = 15: WAIT | NO_WAKEUP,
        WaitPoke = 16: WAIT | NO_ACTION,
        QuietPoke = 30: NO_WAKEUP | NO_ACTION,
        OutsideGuest = 31: WAIT | NO_WAKEUP | NO_ACTION,
    }
}

fn asks() -> impl Strategy<Value = Ask> + Clone {
    prop::sample::select((0..32).filter_map(Ask::from_bit).collect::<Vec<_>>())
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Make(Ask),
    Check(Ask),
    Clear(Ask),
    Take,
    Enter,
    Sleep,
    /// Leaves the guest or wakes up, through the guard's method.
    GoOutside,
    /// The same, by dropping the guard.
    DropGuard,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    use Operation::*;
    let operation = prop_oneof![
        4 => asks().prop_map(Make),
        2 => asks().prop_map(Check),
        1 => asks().prop_map(Clear),
        2 => Just(Take),
        3 => Just(Enter),
        2 => Just(Sleep),
        2 => Just(GoOutside),
        1 => Just(DropGuard),
    ];
    prop::collection::vec(operation, 0..200)
}

/// What the word means, without a word.
#[derive(Default)]
struct Model {
    pending: BTreeSet<u32>,
    place: Place,
    stays: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Outside,
    InGuest {
        kicked: bool,
    },
    Asleep {
        woken: bool,
    },
}

impl Model {
    fn mode(&self) -> Mode {
        match self.place {
            Place::Outside => Mode::Outside,
            Place::InGuest { kicked: false } => Mode::InGuest,
            Place::InGuest { kicked: true } => Mode::Exiting,
            Place::Asleep { .. } => Mode::Sleeping,
        }
    }

    /// The kick, and whether there is something to wait for.
    fn make(&mut self, ask: Ask) -> (Kick, bool) {
        let wakes = !ask.flags().contains(Flags::NO_WAKEUP);
        if !ask.flags().contains(Flags::NO_ACTION) {
            self.pending.insert(ask.bit());
        }
        match &mut self.place {
            Place::InGuest { kicked } => {
                let kick = if mem::replace(kicked, true) {
                    Kick::Coalesced
                } else {
                    Kick::Signal
                };
                (kick, ask.flags().contains(Flags::WAIT))
            }
            Place::Asleep { woken } => {
                let kick = if wakes && !mem::replace(woken, true) {
                    Kick::Wake
                } else {
                    Kick::NotNeeded
                };
                (kick, false)
            }
            Place::Outside => (Kick::NotNeeded, false),
        }
    }

    /// Why the vCPU cannot go from outside to somewhere else, where `in_the_way` says which requests
    /// keep it from that.
    fn refusal(&self, in_the_way: impl Fn(Ask) -> bool) -> Option<NotEntered<Ask>> {
        if self.place != Place::Outside {
            return Some(NotEntered::Busy(self.mode()));
        }
        let set: RequestSet<Ask> = self.requests().filter(|ask| in_the_way(*ask)).collect();
        (!set.is_empty()).then_some(NotEntered::Pending(set))
    }

    fn requests(&self) -> impl Iterator<Item = Ask> {
        self.pending.iter().filter_map(|bit| Ask::from_bit(*bit))
    }
}

#[derive(Default)]
enum Guard<'a> {
    #[default]
    None,
    InGuest(InGuest<'a, Ask>),
    Sleeping(Sleeping<'a, Ask>),
}

proptest! {
    #[test]
    fn the_word_does_what_the_model_does(operations in operations()) {
        let word = VcpuRequests::<Ask>::new();
        let mut model = Model::default();
        let mut guard = Guard::None;
        // What was given out, and the stay that it is about.
        let mut tickets: Vec<(Ticket, u64)> = Vec::new();

        for operation in operations {
            match operation {
                Operation::Make(ask) => {
                    let Made { kick, wait } = word.make(ask);
                    prop_assert_eq!((kick, wait.is_some()), model.make(ask));
                    tickets.extend(wait.map(|ticket| (ticket, model.stays)));
                }
                Operation::Check(ask) => {
                    prop_assert_eq!(word.check(ask), model.pending.remove(&ask.bit()));
                }
                Operation::Clear(ask) => {
                    word.clear(ask);
                    model.pending.remove(&ask.bit());
                }
                Operation::Take => {
                    let taken: Vec<Ask> = word.take().into_iter().collect();
                    prop_assert_eq!(taken, model.requests().collect::<Vec<_>>());
                    model.pending.clear();
                }
                Operation::Enter => match (word.enter(), model.refusal(|_| true)) {
                    (Ok(inside), None) => {
                        guard = Guard::InGuest(inside);
                        model.place = Place::InGuest { kicked: false };
                    }
                    (Err(found), Some(expected)) => prop_assert_eq!(found, expected),
                    (found, expected) => panic!("{found:?} instead of {expected:?}"),
                },
                Operation::Sleep => {
                    let wakes = |ask: Ask| !ask.flags().contains(Flags::NO_WAKEUP);
                    match (word.sleep(), model.refusal(wakes)) {
                        (Ok(sleeping), None) => {
                            guard = Guard::Sleeping(sleeping);
                            model.place = Place::Asleep { woken: false };
                        }
                        (Err(found), Some(expected)) => prop_assert_eq!(found, expected),
                        (found, expected) => panic!("{found:?} instead of {expected:?}"),
                    }
                }
                Operation::GoOutside => {
                    match mem::take(&mut guard) {
                        Guard::None => {}
                        Guard::InGuest(inside) => {
                            let kicked = inside.leave().kicked;
                            prop_assert_eq!(model.place, Place::InGuest { kicked });
                            model.stays += 1;
                        }
                        Guard::Sleeping(sleeping) => sleeping.wake_up(),
                    }
                    model.place = Place::Outside;
                }
                Operation::DropGuard => {
                    if matches!(mem::take(&mut guard), Guard::InGuest(_)) {
                        model.stays += 1;
                    }
                    model.place = Place::Outside;
                }
            }

            prop_assert_eq!(word.mode(), model.mode());
            prop_assert_eq!(word.pending(), !model.pending.is_empty());
            prop_assert_eq!(word.pending_set(), model.requests().collect());
            for ask in (0..32).filter_map(Ask::from_bit) {
                prop_assert_eq!(word.test(ask), model.pending.contains(&ask.bit()));
            }
            for (ticket, stay) in &tickets {
                prop_assert_eq!(word.has_left(*ticket), model.stays > *stay);
            }
            if let Guard::Sleeping(sleeping) = &guard {
                let woken = sleeping.is_woken();
                prop_assert_eq!(model.place, Place::Asleep { woken });
            }
        }
    }

    #[test]
    fn a_request_set_is_a_set(
        asks in prop::collection::vec((any::<bool>(), asks()), 0..40),
    ) {
        let mut set = RequestSet::new();
        let mut model = BTreeSet::new();
        for (insert, ask) in asks {
            if insert {
                prop_assert_eq!(set.insert(ask), model.insert(ask.bit()));
            } else {
                prop_assert_eq!(set.remove(ask), model.remove(&ask.bit()));
            }
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(set.is_empty(), model.is_empty());
            prop_assert_eq!(set.contains(ask), model.contains(&ask.bit()));
            let bits: Vec<u32> = set.iter().map(Request::bit).collect();
            prop_assert_eq!(bits, model.iter().copied().collect::<Vec<_>>());
        }
    }
}
