// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What `struct kvm_vcpu_events` says (kernel, `Documentation/virt/kvm/api.rst`,
//! KVM_GET_VCPU_EVENTS).

use kvm_bindings::{KVM_X86_SHADOW_INT_MOV_SS, KVM_X86_SHADOW_INT_STI, kvm_vcpu_events};

use crate::interruption::{Event, EventType};
use crate::registers::interruptibility;

/// Vectors of INT3 and INTO: KVM injects them as software exceptions.
const SOFTWARE_EXCEPTIONS: [u8; 2] = [3, 4];

/// The event whose delivery has begun. There is at most one; KVM injects them in this order.
pub(super) fn injected(events: &kvm_vcpu_events) -> Option<Event> {
    let exception = &events.exception;
    if exception.injected != 0 {
        let code = (exception.has_error_code != 0).then_some(exception.error_code);
        let mut event = Event::exception(exception.nr, code);
        if SOFTWARE_EXCEPTIONS.contains(&exception.nr) {
            event.kind = EventType::SoftwareException;
        }
        return Some(event);
    }
    if events.nmi.injected != 0 {
        return Some(Event::NMI);
    }
    let interrupt = &events.interrupt;
    (interrupt.injected != 0).then(|| match interrupt.soft {
        0 => Event::external_interrupt(interrupt.nr),
        _ => Event::new(EventType::SoftwareInterrupt, interrupt.nr),
    })
}

/// What holds events back, as a VMCS has it.
pub(super) fn blocking(events: &kvm_vcpu_events) -> u32 {
    let shadow = u32::from(events.interrupt.shadow);
    let bits = [
        (shadow & KVM_X86_SHADOW_INT_STI != 0, interruptibility::STI),
        (
            shadow & KVM_X86_SHADOW_INT_MOV_SS != 0,
            interruptibility::MOV_SS,
        ),
        (events.nmi.masked != 0, interruptibility::NMI),
    ];
    bits.iter()
        .filter(|(is_set, _)| *is_set)
        .fold(0, |blocking, (_, bit)| blocking | bit)
}
