// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The events that wait to be delivered to the guest, as KVM_GET_VCPU_EVENTS and the in-kernel
//! local APIC show them.

use kvm_bindings::{kvm_lapic_state, kvm_vcpu_events};

/// Vector of the non-maskable interrupt.
const NMI: u8 = 2;

/// What waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Events {
    /// An exception, injected or about to be.
    exception: Option<u8>,
    /// An external or software interrupt whose injection is under way.
    interrupt: Option<u8>,
    /// NMIs, injected or pending.
    nmis: u8,
    /// A delivery has begun and did not end: KVM begins it again with the next entry.
    under_way: bool,
    /// No NMI is delivered now.
    nmi_blocked: bool,
    /// STI or MOV SS has just been executed.
    shadow: bool,
    /// Vectors that the in-kernel local APIC has requested.
    requested: Vec<u8>,
    /// Those in service or below the task priority are not delivered: only vectors of this class or
    /// above.
    class: u8,
}

/// An event that will be delivered with the next entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) vector: u8,
}

impl Events {
    pub(super) fn new(events: &kvm_vcpu_events, lapic: Option<&kvm_lapic_state>) -> Self {
        let exception = &events.exception;
        let waits = exception.injected != 0 || exception.pending != 0;
        let (requested, class) = lapic.map(requested).unwrap_or_default();
        Self {
            exception: waits.then_some(exception.nr),
            interrupt: (events.interrupt.injected != 0).then_some(events.interrupt.nr),
            nmis: events.nmi.injected.saturating_add(events.nmi.pending),
            under_way: exception.injected != 0
                || events.interrupt.injected != 0
                || events.nmi.injected != 0,
            nmi_blocked: events.nmi.injected == 0
                && (events.nmi.masked != 0 || events.interrupt.shadow != 0 || events.smi.smm != 0),
            shadow: events.interrupt.shadow != 0,
            requested,
            class,
        }
    }

    /// Whether STI or MOV SS holds back interrupts for one instruction.
    pub(super) fn shadow(&self) -> bool {
        self.shadow
    }

    /// Those that the next entry may deliver, with the guest's interrupts on or off.
    pub(super) fn deliverable(&self, interrupts_on: bool) -> Vec<Event> {
        let mut events = Vec::new();
        let event = |vector| Event { vector };
        events.extend(self.exception.map(event));
        events.extend(self.interrupt.map(event));
        if self.nmis > 0 && !self.nmi_blocked {
            events.push(event(NMI));
        }
        if interrupts_on && !self.shadow && self.interrupt.is_none() {
            let highest = self.requested.iter().max().copied();
            events.extend(highest.filter(|vector| vector >> 4 > self.class).map(event));
        }
        events
    }

    /// Whether anything waits, deliverable or not.
    pub(super) fn waits(&self) -> bool {
        self.exception.is_some() || self.interrupt.is_some() || self.nmis > 0
    }

    /// Whether the delivery of an event has begun and not ended.
    pub(super) fn under_way(&self) -> bool {
        self.under_way
    }

    /// Whether the local APIC still has `vector` to deliver.
    pub(super) fn has_request(&self, vector: u8) -> bool {
        self.requested.contains(&vector)
    }

    /// Whether any of these is not there any more in `after`.
    pub(super) fn any_consumed(&self, after: &Self) -> bool {
        (self.exception.is_some() && after.exception != self.exception)
            || (self.interrupt.is_some() && after.interrupt != self.interrupt)
            || after.nmis < self.nmis
            // One whose delivery was interrupted is not requested any more, but to be injected again.
            || self.requested.iter().any(|vector| {
                !after.requested.contains(vector) && after.interrupt != Some(*vector)
            })
    }
}

/// The vectors in an APIC's IRR, and the class that it holds back (SDM 3, 11.8.3).
fn requested(lapic: &kvm_lapic_state) -> (Vec<u8>, u8) {
    const TPR: usize = 0x80;
    const SVR: usize = 0xf0;
    const ISR: usize = 0x100;
    const IRR: usize = 0x200;
    let byte = |offset: usize| {
        lapic
            .regs
            .get(offset)
            .map_or(0, |byte| byte.cast_unsigned())
    };
    let set = |base: usize| {
        (0..=255_u8).filter(move |vector| {
            let register = base + usize::from(vector / 32) * 16;
            byte(register + usize::from(vector % 32 / 8)) & 1 << (vector % 8) != 0
        })
    };
    let enabled = byte(SVR + 1) & 1 != 0;
    if !enabled {
        return Default::default();
    }
    let in_service = set(ISR).max().unwrap_or(0) >> 4;
    (set(IRR).collect(), in_service.max(byte(TPR) >> 4))
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    fn of(set: impl FnOnce(&mut kvm_vcpu_events)) -> Events {
        let mut events = kvm_vcpu_events::default();
        set(&mut events);
        Events::new(&events, None)
    }

    fn vectors(events: &Events, interrupts_on: bool) -> Vec<u8> {
        let events = events.deliverable(interrupts_on);
        events.iter().map(|event| event.vector).collect()
    }

    #[test]
    fn nothing_waits_in_a_new_vcpu() {
        let events = of(|_| {});
        assert!(!events.waits() && vectors(&events, true).is_empty());
        assert!(!events.any_consumed(&events));
    }

    #[test]
    fn an_injected_event_is_consumed_when_it_is_gone() {
        let none = of(|_| {});
        for events in [
            of(|e| {
                e.exception.injected = 1;
                e.exception.nr = 13;
            }),
            of(|e| {
                e.exception.pending = 1;
                e.exception.nr = 6;
            }),
            of(|e| {
                e.interrupt.injected = 1;
                e.interrupt.nr = 0x40;
            }),
            of(|e| e.nmi.pending = 1),
            of(|e| e.nmi.injected = 1),
        ] {
            assert!(events.waits());
            assert_eq!(vectors(&events, false).len(), 1, "{events:?}");
            assert!(events.any_consumed(&none), "{events:?}");
            assert!(!events.any_consumed(&events), "{events:?}");
        }
    }

    #[test]
    fn an_nmi_that_is_blocked_waits_and_is_not_delivered() {
        for events in [
            of(|e| (e.nmi.pending, e.nmi.masked) = (1, 1)),
            of(|e| (e.nmi.pending, e.interrupt.shadow) = (1, 1)),
            of(|e| (e.nmi.pending, e.smi.smm) = (1, 1)),
        ] {
            assert!(
                events.waits() && vectors(&events, true).is_empty(),
                "{events:?}"
            );
        }
        // One whose injection is under way is delivered all the same.
        assert_eq!(
            vectors(&of(|e| (e.nmi.injected, e.nmi.masked) = (1, 1)), true),
            [2]
        );
    }

    #[test]
    fn what_is_injected_is_under_way_and_what_is_pending_is_not() {
        assert!(!of(|e| (e.exception.pending, e.nmi.pending) = (1, 1)).under_way());
        assert!(of(|e| e.exception.injected = 1).under_way());
        assert!(of(|e| e.interrupt.injected = 1).under_way());
        assert!(of(|e| e.nmi.injected = 1).under_way());
    }

    #[test]
    fn one_nmi_of_two_is_consumed() {
        let two = of(|e| e.nmi.pending = 2);
        let one = of(|e| e.nmi.pending = 1);
        assert!(two.any_consumed(&one) && one.waits());
    }

    #[test]
    fn the_local_apic_delivers_its_highest_vector_above_the_priority() {
        let mut lapic = kvm_lapic_state::default();
        let mut set = |offset: usize, bit: u8| lapic.regs[offset] |= (1_u8 << bit).cast_signed();
        set(0xf1, 0);
        set(0x200 + 0x10 + 1, 3); // 32 + 8 + 3
        set(0x200 + 0x20, 1); // 65
        let events = Events::new(&kvm_vcpu_events::default(), Some(&lapic));
        assert_eq!(vectors(&events, true), [65]);
        assert!(vectors(&events, false).is_empty());
        let mut held = lapic;
        held.regs[0x80] = 0x40; // TPR: class 4
        let held = Events::new(&kvm_vcpu_events::default(), Some(&held));
        assert!(vectors(&held, true).is_empty());
        let mut off = lapic;
        off.regs[0xf1] = 0;
        let off = Events::new(&kvm_vcpu_events::default(), Some(&off));
        assert!(vectors(&off, true).is_empty());
        lapic.regs[0x220] = 0;
        let after = Events::new(&kvm_vcpu_events::default(), Some(&lapic));
        assert!(events.any_consumed(&after) && !after.any_consumed(&events));
        // Its delivery was interrupted: KVM injects it again.
        let mut injected = kvm_vcpu_events::default();
        (injected.interrupt.injected, injected.interrupt.nr) = (1, 65);
        let again = Events::new(&injected, Some(&lapic));
        assert!(!events.any_consumed(&again) && again.waits());
    }
}
