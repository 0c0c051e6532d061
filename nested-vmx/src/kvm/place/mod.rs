// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where a vCPU is, and what its events do.

mod destination;
mod events;

pub use destination::{Destination, Obstacle, Waiting};

use kvm_bindings::kvm_vcpu_events;

use super::{NestedState, SmmFlags};
use crate::interruption::Event;

/// What runs when the vCPU is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// L1, outside VMX operation.
    Off,
    /// L1, in VMX root operation.
    Root,
    /// L2.
    L2,
    /// SMM of L1's. RSM goes on with what it interrupted.
    Smm {
        /// L1 was in VMX operation.
        vmxon: bool,
        /// L2 was active.
        l2: bool,
    },
}

/// Who says that an event is being injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// vmcs12's VM-entry interruption information: L1 asks for it with the pending entry.
    Vmcs12,
    /// KVM's vCPU events: its delivery began, and was interrupted.
    VcpuEvents,
}

/// An event on its way into the guest that is entered next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection {
    /// The event. The length of the instruction is known only from [`Source::Vmcs12`].
    pub event: Event,
    /// Who says so.
    pub source: Source,
}

/// Where a vCPU is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// What runs.
    pub place: Place,
    /// L1's VM entry is still to happen: until then nothing makes L2 exit.
    pub run_pending: bool,
    /// What is being injected: into L2 if that is the place, otherwise into L1.
    pub injection: Option<Injection>,
}

impl NestedState {
    /// Where this vCPU is, with what KVM says about its events (`KVM_GET_VCPU_EVENTS`).
    ///
    /// A delivery that KVM has begun is in the vCPU's events; before that, an event that L1 injects
    /// is in vmcs12, and counts as long as the entry is pending.
    pub fn whereabouts(&self, events: &kvm_vcpu_events) -> Whereabouts {
        let smm = self.smm_flags();
        let place = match (events.smi.smm != 0, self.vmxon()) {
            (true, _) => Place::Smm {
                vmxon: smm.contains(SmmFlags::VMXON),
                l2: smm.contains(SmmFlags::GUEST_MODE),
            },
            (false, None) => Place::Off,
            (false, Some(_)) if self.is_in_guest_mode() => Place::L2,
            (false, Some(_)) => Place::Root,
        };
        let run_pending = place == Place::L2 && self.is_run_pending();
        let begun = events::injected(events).map(|event| Injection {
            event,
            source: Source::VcpuEvents,
        });
        let asked_for = || {
            let vmcs12 = self.vmcs12().filter(|_| run_pending)?;
            let event = Event::from_fields(
                vmcs12.vm_entry_intr_info_field(),
                vmcs12.vm_entry_exception_error_code(),
                vmcs12.vm_entry_instruction_len(),
            )?;
            Some(Injection {
                event,
                source: Source::Vmcs12,
            })
        };
        Whereabouts {
            place,
            run_pending,
            injection: begun.or_else(asked_for),
        }
    }
}
