// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A vCPU: its thread, and what KVM_RUN does for it.

use std::fmt;

use vcpu_requests::{InGuest, NotEntered, RequestSet, Sleeping};

use super::{ASKS, Ask, Shared};

/// Where the vCPU's thread is.
#[derive(Debug)]
enum Place<'a> {
    /// About to clear the skip flag.
    Top,
    /// About to look at the requests.
    Handling,
    /// About to enter, or to sleep.
    Door,
    /// In guest mode, about to call KVM_RUN.
    BeforeRun(InGuest<'a, Ask>),
    /// In KVM_RUN, past the look at the skip flag.
    Running(InGuest<'a, Ask>),
    /// Back from KVM_RUN, still in guest mode.
    Leaving(InGuest<'a, Ask>),
    /// Asleep until the bell rings.
    Asleep(Sleeping<'a, Ask>),
}

/// A vCPU.
pub(super) struct Vcpu<'a> {
    shared: &'a Shared,
    place: Place<'a>,
}

impl<'a> Vcpu<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            place: Place::Top,
        }
    }

    pub(super) fn shared(&self) -> &'a Shared {
        self.shared
    }

    /// The signal arrives. Outside KVM_RUN its handler runs, which does nothing.
    pub(super) fn signal(&mut self) {
        self.place = match std::mem::replace(&mut self.place, Place::Top) {
            Place::Running(guest) => Place::Leaving(guest),
            elsewhere => elsewhere,
        };
    }

    /// The thread's next step. With choice 0 it does nothing that it does not have to.
    pub(super) fn step(&mut self, choice: u8) {
        let shared = self.shared;
        self.place = match std::mem::replace(&mut self.place, Place::Top) {
            Place::Top => {
                shared.skip.set(false);
                Place::Handling
            }
            Place::Handling => {
                self.handle(choice);
                Place::Door
            }
            Place::Door if choice & 1 == 0 => match shared.word.enter() {
                Ok(guest) => {
                    shared.model.entered();
                    Place::BeforeRun(guest)
                }
                Err(NotEntered::Pending(set)) => {
                    assert_eq!(set, shared.model.pending());
                    assert!(!set.is_empty());
                    Place::Handling
                }
                Err(NotEntered::Busy(mode)) => panic!("at the door, but {mode}"),
            },
            Place::Door => match shared.word.sleep() {
                Ok(sleeping) => {
                    shared.model.fell_asleep();
                    // It looks once before it waits for the bell.
                    shared.bell.set(true);
                    Place::Asleep(sleeping)
                }
                Err(NotEntered::Pending(set)) => {
                    assert_eq!(set, shared.model.waking());
                    assert!(!set.is_empty());
                    Place::Handling
                }
                Err(NotEntered::Busy(mode)) => panic!("at the door, but {mode}"),
            },
            Place::BeforeRun(guest) if shared.skip.get() => Place::Leaving(guest),
            Place::BeforeRun(guest) => Place::Running(guest),
            // The guest exits for its own reasons, or runs on.
            Place::Running(guest) if choice & 1 == 1 => Place::Leaving(guest),
            Place::Running(guest) => Place::Running(guest),
            Place::Leaving(guest) => {
                let left = guest.leave();
                assert_eq!(left.kicked, shared.model.left());
                Place::Top
            }
            Place::Asleep(sleeping) if shared.bell.get() => {
                shared.bell.set(false);
                assert_eq!(sleeping.is_woken(), shared.model.is_to_notice());
                if sleeping.is_woken() {
                    sleeping.wake_up();
                    shared.model.woke_up();
                    Place::Top
                } else {
                    Place::Asleep(sleeping)
                }
            }
            // A sleep may end for other reasons.
            Place::Asleep(sleeping) if choice == 1 => {
                drop(sleeping);
                shared.model.woke_up();
                Place::Top
            }
            Place::Asleep(sleeping) => Place::Asleep(sleeping),
        };
    }

    /// One pass over the requests: all at once, or one after the other, or only one.
    fn handle(&self, choice: u8) {
        let shared = self.shared;
        let found: RequestSet<Ask> = match choice % 4 {
            0 => shared.word.take(),
            1 => ASKS
                .into_iter()
                .filter(|ask| shared.word.check(*ask))
                .collect(),
            _ => {
                let ask = ASKS[usize::from(choice) % ASKS.len()];
                let pending = shared.word.test(ask);
                assert_eq!(shared.word.check(ask), pending);
                pending.then_some(ask).into_iter().collect()
            }
        };
        for ask in found {
            shared.model.found(ask);
            match ask {
                Ask::Event => shared.model.took_events(shared.events.take()),
                Ask::Deadline => shared.model.took_deadline(shared.deadline.take()),
                _ => {}
            }
        }
        // The handler itself asks for something, maybe what this pass has just handled.
        if choice >= 40 {
            let ask = ASKS[usize::from(choice) % ASKS.len()];
            shared.model.make(ask, &shared.word.make(ask));
        }
    }

    /// What holds after each step, by anybody.
    pub(super) fn check(&self, kick_under_way: bool) {
        let Shared { word, model, .. } = self.shared;
        assert_eq!(word.mode(), model.mode());
        assert_eq!(word.pending_set(), model.pending());
        assert_eq!(word.pending(), !model.pending().is_empty());
        let told = match self.place {
            Place::BeforeRun(_) => kick_under_way || self.shared.skip.get(),
            Place::Running(_) => kick_under_way,
            Place::Asleep(_) => kick_under_way || self.shared.bell.get(),
            Place::Top | Place::Handling | Place::Door | Place::Leaving(_) => true,
        };
        let work = match self.place {
            Place::Asleep(_) => !model.waking().is_empty(),
            _ => !model.pending().is_empty(),
        };
        assert!(
            told || !(work || model.is_to_notice()),
            "{:?} with work that nobody tells it of: {:?}",
            self.place,
            model.pending()
        );
    }

    /// Whether it stays where it is for as long as nobody asks anything, with all work done.
    pub(super) fn is_at_rest(&self) -> bool {
        let model = &self.shared.model;
        let work = match self.place {
            Place::Running(_) => model.pending(),
            Place::Asleep(_) => model.waking(),
            _ => return false,
        };
        work.is_empty() && !model.is_to_notice() && !model.has_values()
    }
}

impl fmt::Debug for Vcpu<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vcpu")
            .field("place", &self.place)
            .field("model", &self.shared.model)
            .finish()
    }
}
