// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Who gets an event that comes now.

use kvm_bindings::kvm_vcpu_events;

use super::{Place, events};
use crate::exit_reason::ExitReason;
use crate::kvm::NestedState;
use crate::l0::priority::{Next, Situation, next};
use crate::l0::{PendingEvents, PendingException};
use crate::registers::interruptibility;
use crate::vmcs::Vmcs;

/// An event that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Waiting {
    /// An external interrupt with this vector.
    ExternalInterrupt(u8),
    /// A non-maskable interrupt.
    Nmi,
    /// A system-management interrupt.
    Smi,
    /// An INIT signal.
    Init,
    /// A start-up IPI with this vector.
    Sipi(u8),
    /// An exception of the guest that runs.
    Exception(PendingException),
    /// The guest that runs is shut down by a triple fault.
    TripleFault,
    /// A VM exit because of L1's monitor trap flag.
    MonitorTrap,
    /// L1's preemption timer has run down.
    PreemptionTimer,
}

/// Why an event waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Obstacle {
    /// L2 must be entered first: L1's VM entry is pending. This is where an immediate exit is due.
    RunPending,
    /// Another event is on its way into L2.
    EventOnItsWay,
    /// The guest blocks it: RFLAGS.IF, STI, MOV SS, an NMI or SMI before it, VMX root operation (for
    /// INIT), or its activity state.
    Blocked,
}

/// Where an event goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// L2 exits to L1 with this basic exit reason.
    L1ByExit(ExitReason),
    /// L1 runs, and gets it as any guest. Whether its RFLAGS.IF lets an external interrupt through
    /// now, and whether it waits for a start-up IPI, the nested state does not say.
    L1,
    /// It is injected into L2.
    L2,
    /// The vCPU enters SMM.
    Smm,
    /// Nobody: it notifies of posted interrupts, which go to L2's virtual APIC.
    PostedInterrupts,
    /// Nobody: it has no effect here.
    Nobody,
    /// It waits.
    Waits(Obstacle),
}

impl NestedState {
    /// Where this event goes that waits for the vCPU, alone: the rules are those of
    /// [`l0`](crate::l0), and KVM's in `vmx_check_nested_events`.
    pub fn destination(&self, waiting: Waiting, events: &kvm_vcpu_events) -> Destination {
        let whereabouts = self.whereabouts(events);
        match (whereabouts.place, self.vmcs12()) {
            (Place::L2, Some(vmcs12)) => {
                let begun = events::injected(events).is_some();
                let next = in_l2(vmcs12, waiting, whereabouts.run_pending, begun, events);
                destination(next, whereabouts.run_pending)
            }
            (place, _) => in_l1(place, waiting, events),
        }
    }
}

fn in_l2(
    vmcs12: &Vmcs,
    waiting: Waiting,
    run_pending: bool,
    injecting: bool,
    events: &kvm_vcpu_events,
) -> Next {
    let mut pending = PendingEvents::default();
    let mut interrupt = None;
    match waiting {
        Waiting::ExternalInterrupt(vector) => interrupt = Some(vector),
        Waiting::Nmi => pending.nmi = true,
        Waiting::Smi => pending.smi = true,
        Waiting::Init => pending.init = true,
        Waiting::Sipi(vector) => pending.sipi = Some(vector),
        Waiting::Exception(exception) => pending.exception = Some(exception),
        Waiting::TripleFault => pending.triple_fault = true,
        Waiting::MonitorTrap => pending.monitor_trap = true,
        Waiting::PreemptionTimer => {}
    }
    next(&Situation {
        vmcs12,
        pending: &pending,
        run_pending,
        injecting,
        activity: vmcs12.guest_activity_state(),
        rflags: vmcs12.guest_rflags(),
        interruptibility: events::blocking(events),
        timer_expired: waiting == Waiting::PreemptionTimer,
        in_smm: false,
        interrupt,
    })
}

fn destination(next: Next, run_pending: bool) -> Destination {
    Destination::L1ByExit(match next {
        Next::Blocked => {
            return Destination::Waits(match run_pending {
                true => Obstacle::RunPending,
                false => Obstacle::EventOnItsWay,
            });
        }
        Next::Nothing => return Destination::Waits(Obstacle::Blocked),
        Next::Discard(_) => return Destination::Nobody,
        Next::ExceptionInjection(_) | Next::NmiInjection | Next::InterruptInjection(_) => {
            return Destination::L2;
        }
        Next::Smm => return Destination::Smm,
        Next::PostedInterrupts(_) => return Destination::PostedInterrupts,
        Next::Init => ExitReason::INIT,
        Next::Sipi(_) => ExitReason::SIPI,
        Next::TripleFault => ExitReason::TRIPLE_FAULT,
        Next::ExceptionExit(_) | Next::NmiExit => ExitReason::EXCEPTION_OR_NMI,
        Next::MonitorTrap => ExitReason::MONITOR_TRAP_FLAG,
        Next::PreemptionTimer => ExitReason::PREEMPTION_TIMER,
        Next::InterruptExit | Next::AcknowledgedInterruptExit(_) => ExitReason::EXTERNAL_INTERRUPT,
    })
}

/// L1, or SMM of L1's, runs: there is no VM exit.
fn in_l1(place: Place, waiting: Waiting, events: &kvm_vcpu_events) -> Destination {
    const SHADOW: u32 = interruptibility::STI | interruptibility::MOV_SS;
    let blocking = events::blocking(events);
    let in_smm = matches!(place, Place::Smm { .. });
    let is_blocked = match waiting {
        Waiting::ExternalInterrupt(_) => blocking & SHADOW != 0,
        Waiting::Nmi => blocking & (interruptibility::NMI | interruptibility::MOV_SS) != 0,
        Waiting::Smi => in_smm,
        // SDM volume 3, sections 25.8 and 33.3.
        Waiting::Init => in_smm || place == Place::Root,
        Waiting::Sipi(_) => in_smm,
        Waiting::Exception(_) | Waiting::TripleFault => false,
        // There is no L2 to exit from.
        Waiting::MonitorTrap | Waiting::PreemptionTimer => return Destination::Nobody,
    };
    match (is_blocked, waiting) {
        (true, _) => Destination::Waits(Obstacle::Blocked),
        (false, Waiting::Smi) => Destination::Smm,
        (false, _) => Destination::L1,
    }
}
