// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A maker: it asks, kicks if it has to, and waits if it is to.

use vcpu_requests::{Kick, Ticket};

use super::{ASKS, Ask, Vcpu};

/// What the maker does next.
#[derive(Debug)]
enum Next {
    /// Decide what to ask of whom.
    Decide,
    /// Put the value that goes with the request.
    Put,
    Make,
    SetSkipFlag(Wait),
    SendSignal(Wait),
    RingBell(Wait),
    Wait(Wait),
}

/// What the maker waits for, if anything.
#[derive(Debug)]
struct Wait {
    ticket: Option<Ticket>,
    /// The model's name for the stay in guest mode that the ticket is about.
    stay: u64,
}

/// A maker.
#[derive(Debug)]
pub(super) struct Maker {
    index: usize,
    next: Next,
    vcpu: usize,
    ask: Ask,
}

impl Maker {
    pub(super) fn new(index: usize) -> Self {
        Self {
            index,
            next: Next::Decide,
            vcpu: 0,
            ask: Ask::Event,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.next, Next::Decide)
    }

    /// Whether this maker was told to kick or wake that vCPU, and has not done so yet.
    pub(super) fn is_to_kick(&self, vcpu: usize) -> bool {
        self.vcpu == vcpu
            && matches!(
                self.next,
                Next::SetSkipFlag(_) | Next::SendSignal(_) | Next::RingBell(_)
            )
    }

    /// The maker's next step.
    pub(super) fn step(&mut self, choice: u8, vcpus: &mut [Vcpu<'_>]) {
        let vcpu = &mut vcpus[self.vcpu];
        let shared = vcpu.shared();
        self.next = match std::mem::replace(&mut self.next, Next::Decide) {
            Next::Decide => {
                let choice = usize::from(choice);
                self.ask = ASKS[choice % ASKS.len()];
                self.vcpu = choice / ASKS.len() % vcpus.len();
                Next::Put
            }
            Next::Put => {
                let value = 1 << self.index;
                match self.ask {
                    Ask::Event => {
                        shared.events.put(value);
                        shared.model.put_event(value);
                    }
                    Ask::Deadline => {
                        shared.deadline.put(value);
                        shared.model.put_deadline(value);
                    }
                    _ => {}
                }
                Next::Make
            }
            Next::Make => {
                let made = shared.word.make(self.ask);
                shared.model.make(self.ask, &made);
                let wait = Wait {
                    ticket: made.wait,
                    stay: shared.model.stays(),
                };
                match made.kick {
                    Kick::NotNeeded | Kick::Coalesced => Next::Wait(wait),
                    Kick::Signal => Next::SetSkipFlag(wait),
                    Kick::Wake => Next::RingBell(wait),
                }
            }
            Next::SetSkipFlag(wait) => {
                shared.skip.set(true);
                Next::SendSignal(wait)
            }
            Next::SendSignal(wait) => {
                vcpu.signal();
                Next::Wait(wait)
            }
            Next::RingBell(wait) => {
                shared.bell.set(true);
                Next::Wait(wait)
            }
            Next::Wait(Wait { ticket: None, .. }) => Next::Decide,
            Next::Wait(Wait {
                ticket: Some(ticket),
                stay,
            }) => {
                let has_left = shared.word.has_left(ticket);
                assert_eq!(has_left, shared.model.stays() > stay);
                if has_left {
                    Next::Decide
                } else {
                    Next::Wait(Wait {
                        ticket: Some(ticket),
                        stay,
                    })
                }
            }
        };
    }
}
