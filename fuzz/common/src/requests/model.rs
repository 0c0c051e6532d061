// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a vCPU's word has to show: plain fields instead of bits of one number.

use std::cell::RefCell;
use std::collections::BTreeSet;

use vcpu_requests::{Flags, Kick, Made, Mode, Request, RequestSet};

use super::Ask;

/// Where the vCPU is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Outside,
    InGuest { kicked: bool },
    Asleep { woken: bool },
}

#[derive(Debug)]
struct State {
    place: Place,
    /// Bits of the requests that are pending.
    pending: BTreeSet<u32>,
    /// How many stays in guest mode have ended.
    stays: u64,
    /// The Event values that were put, and that nobody has taken.
    events: u64,
    /// The greatest Deadline that was put, and that nobody has taken.
    deadline: u64,
}

/// The model of one vCPU.
#[derive(Debug)]
pub(super) struct Model(RefCell<State>);

impl Model {
    pub(super) fn new() -> Self {
        Self(RefCell::new(State {
            place: Place::Outside,
            pending: BTreeSet::new(),
            stays: 0,
            events: 0,
            deadline: 0,
        }))
    }

    pub(super) fn stays(&self) -> u64 {
        self.0.borrow().stays
    }

    pub(super) fn mode(&self) -> Mode {
        match self.0.borrow().place {
            Place::Outside => Mode::Outside,
            Place::InGuest { kicked: false } => Mode::InGuest,
            Place::InGuest { kicked: true } => Mode::Exiting,
            Place::Asleep { .. } => Mode::Sleeping,
        }
    }

    pub(super) fn pending(&self) -> RequestSet<Ask> {
        let state = self.0.borrow();
        state
            .pending
            .iter()
            .filter_map(|bit| Ask::from_bit(*bit))
            .collect()
    }

    /// The pending requests that keep the vCPU from sleeping.
    pub(super) fn waking(&self) -> RequestSet<Ask> {
        self.pending()
            .into_iter()
            .filter(|ask| !ask.flags().contains(Flags::NO_WAKEUP))
            .collect()
    }

    /// Whether the vCPU was told to notice something, where it is, that it has not noticed yet.
    pub(super) fn is_to_notice(&self) -> bool {
        matches!(
            self.0.borrow().place,
            Place::InGuest { kicked: true } | Place::Asleep { woken: true }
        )
    }

    /// A request is made, which said `made`.
    pub(super) fn make(&self, ask: Ask, made: &Made) {
        let state = &mut *self.0.borrow_mut();
        let flags = ask.flags();
        if !flags.contains(Flags::NO_ACTION) {
            state.pending.insert(ask.bit());
        }
        let (kick, in_guest) = match &mut state.place {
            Place::Outside => (Kick::NotNeeded, false),
            Place::InGuest { kicked } => {
                let first = !std::mem::replace(kicked, true);
                (if first { Kick::Signal } else { Kick::Coalesced }, true)
            }
            Place::Asleep { .. } if flags.contains(Flags::NO_WAKEUP) => (Kick::NotNeeded, false),
            Place::Asleep { woken } => {
                let first = !std::mem::replace(woken, true);
                (if first { Kick::Wake } else { Kick::NotNeeded }, false)
            }
        };
        assert_eq!(made.kick, kick, "making {ask:?}");
        assert_eq!(
            made.wait.is_some(),
            in_guest && flags.contains(Flags::WAIT),
            "making {ask:?}"
        );
    }

    pub(super) fn put_event(&self, value: u64) {
        self.0.borrow_mut().events |= value;
    }

    pub(super) fn put_deadline(&self, value: u64) {
        let state = &mut *self.0.borrow_mut();
        state.deadline = state.deadline.max(value);
    }

    /// A request was found; it has to be there.
    pub(super) fn found(&self, ask: Ask) {
        assert!(
            self.0.borrow_mut().pending.remove(&ask.bit()),
            "found {ask:?}"
        );
    }

    pub(super) fn took_events(&self, taken: u64) {
        assert_eq!(std::mem::take(&mut self.0.borrow_mut().events), taken);
    }

    pub(super) fn took_deadline(&self, taken: u64) {
        assert_eq!(std::mem::take(&mut self.0.borrow_mut().deadline), taken);
    }

    /// Whether a value was put that nobody has taken.
    pub(super) fn has_values(&self) -> bool {
        let state = self.0.borrow();
        state.events != 0 || state.deadline != 0
    }

    pub(super) fn entered(&self) {
        assert!(
            self.pending().is_empty(),
            "entered in spite of {:?}",
            self.pending()
        );
        self.go(Place::Outside, Place::InGuest { kicked: false });
    }

    /// Left guest mode; says whether somebody was told to kick.
    pub(super) fn left(&self) -> bool {
        let state = &mut *self.0.borrow_mut();
        let Place::InGuest { kicked } = state.place else {
            panic!("left guest mode from {:?}", state.place);
        };
        state.place = Place::Outside;
        state.stays += 1;
        kicked
    }

    pub(super) fn fell_asleep(&self) {
        assert!(
            self.waking().is_empty(),
            "sleeps in spite of {:?}",
            self.waking()
        );
        self.go(Place::Outside, Place::Asleep { woken: false });
    }

    pub(super) fn woke_up(&self) {
        self.0.borrow_mut().place = Place::Outside;
    }

    fn go(&self, from: Place, to: Place) {
        let place = &mut self.0.borrow_mut().place;
        assert_eq!(*place, from);
        *place = to;
    }
}
