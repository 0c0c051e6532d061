// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which event comes next while L2 is active (SDM volume 3, table 7-2 and section 28.7).
//!
//! [`next`] is one list, read from above: the first event that waits decides. An event that would
//! leave L2 while its entry is pending, or while another event is still on its way into it, is
//! [`Next::Blocked`], and what is below it does not overtake it.

use super::exception::{Class, PendingException};
use super::pending::PendingEvents;
use crate::controls::{ExitControls, PinControls, PrimaryControls};
use crate::exit_reason::ExitReason;
use crate::registers::{activity, interruptibility, rflags};
use crate::vmcs::Vmcs;

/// What the decision depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation<'a> {
    /// What L1 wants.
    pub vmcs12: &'a Vmcs,
    /// What waits.
    pub pending: &'a PendingEvents,
    /// The entry that L1 asked for is still to happen.
    pub run_pending: bool,
    /// An event is on its way into L2.
    pub injecting: bool,
    /// L2's activity state.
    pub activity: u32,
    /// L2's RFLAGS.
    pub rflags: u64,
    /// L2's interruptibility state.
    pub interruptibility: u32,
    /// L1's preemption timer has run down.
    pub timer_expired: bool,
    /// The virtual processor is in SMM.
    pub in_smm: bool,
    /// The vector that the interrupt controller would give.
    pub interrupt: Option<u8>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// No event waits that could be taken now.
    Nothing,
    /// An event waits, and L2 must be entered before it can be taken.
    Blocked,
    /// VM exit because of an INIT signal.
    Init,
    /// VM exit because of a start-up IPI.
    Sipi(u8),
    /// The signal has no effect in this activity state.
    Discard(Signal),
    /// VM exit because of a triple fault.
    TripleFault,
    /// VM exit because of an exception.
    ExceptionExit(PendingException),
    /// The exception is delivered to L2.
    ExceptionInjection(PendingException),
    /// VM exit because of the monitor trap flag.
    MonitorTrap,
    /// VM exit because of the preemption timer.
    PreemptionTimer,
    /// The processor enters SMM.
    Smm,
    /// VM exit because of an NMI.
    NmiExit,
    /// The NMI is delivered to L2.
    NmiInjection,
    /// VM exit because of an external interrupt, which stays in the controller.
    InterruptExit,
    /// VM exit because of an external interrupt, which is acknowledged.
    AcknowledgedInterruptExit(u8),
    /// The external interrupt is delivered to L2.
    InterruptInjection(u8),
    /// The interrupt is the notification of posted interrupts.
    PostedInterrupts(u8),
}

impl Next {
    /// Whether it is an external interrupt that is taken.
    pub const fn is_interrupt(self) -> bool {
        matches!(
            self,
            Self::InterruptExit
                | Self::AcknowledgedInterruptExit(_)
                | Self::InterruptInjection(_)
                | Self::PostedInterrupts(_)
        )
    }
}

/// A signal without effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// INIT, in the wait-for-SIPI state.
    Init,
    /// A start-up IPI, in any other.
    Sipi,
}

impl Situation<'_> {
    /// Blocked by the pending entry only: exceptions are L2's own and can come while another
    /// event is delivered.
    const fn unless_run_pending(&self, next: Next) -> Next {
        match self.run_pending {
            true => Next::Blocked,
            false => next,
        }
    }

    /// Blocked by the pending entry, and by an event on its way.
    const fn unless_busy(&self, next: Next) -> Next {
        match self.run_pending || self.injecting {
            true => Next::Blocked,
            false => next,
        }
    }

    fn exception(&self, exception: PendingException) -> Next {
        self.unless_run_pending(match exception.exits(self.vmcs12) {
            true => Next::ExceptionExit(exception),
            false => Next::ExceptionInjection(exception),
        })
    }

    /// Whether L2 takes external interrupts that do not cause VM exits.
    pub const fn interrupt_window(&self) -> bool {
        self.rflags & rflags::IF != 0
            && self.interruptibility & (interruptibility::STI | interruptibility::MOV_SS) == 0
    }

    /// The exit by which L1 learns that L2 can take an event, if that is what L1 wants and L2 can. It
    /// comes before external interrupts, that for NMIs first (SDM volume 3, section 27.2). The
    /// processor finds it too, but only when L2 is entered: what waits would have overtaken it.
    pub fn window_exit(&self) -> Option<ExitReason> {
        const BY_INSTRUCTION: u32 = interruptibility::STI | interruptibility::MOV_SS;
        let primary = self.vmcs12.primary();
        let nmis_blocked = self.interruptibility & (BY_INSTRUCTION | interruptibility::NMI) != 0;
        if primary.contains(PrimaryControls::NMI_WINDOW_EXITING) && !nmis_blocked {
            return Some(ExitReason::NMI_WINDOW);
        }
        (primary.contains(PrimaryControls::INTERRUPT_WINDOW_EXITING) && self.interrupt_window())
            .then_some(ExitReason::INTERRUPT_WINDOW)
    }

    /// Whether NMIs are held back: by an NMI before it, unless that blocks only virtual NMIs, and
    /// by MOV SS if it is L2 that gets the NMI (SDM volume 3, table 26-3).
    pub fn nmi_blocked(&self) -> bool {
        let pin = self.vmcs12.pin();
        let virtual_nmis = pin.contains(PinControls::VIRTUAL_NMIS);
        let by_nmi = self.interruptibility & interruptibility::NMI != 0 && !virtual_nmis;
        let by_mov_ss = self.interruptibility & interruptibility::MOV_SS != 0
            && !pin.contains(PinControls::NMI_EXITING);
        by_nmi || by_mov_ss
    }

    fn interrupt(&self, vector: u8) -> Option<Next> {
        let pin = self.vmcs12.pin();
        if !pin.contains(PinControls::EXTERNAL_INTERRUPT_EXITING) {
            return self
                .interrupt_window()
                .then(|| self.unless_busy(Next::InterruptInjection(vector)));
        }
        let acknowledge = self
            .vmcs12
            .exit()
            .contains(ExitControls::ACKNOWLEDGE_INTERRUPT_ON_EXIT);
        if !acknowledge {
            return Some(self.unless_busy(Next::InterruptExit));
        }
        let is_notification = pin.contains(PinControls::PROCESS_POSTED_INTERRUPTS)
            && u16::from(vector) == self.vmcs12.posted_intr_nv();
        Some(match (is_notification, self.injecting) {
            (true, true) => Next::Blocked,
            // No VM exit, so the pending entry does not matter.
            (true, false) => Next::PostedInterrupts(vector),
            (false, _) => self.unless_busy(Next::AcknowledgedInterruptExit(vector)),
        })
    }
}

/// The next event.
pub(crate) fn next(situation: &Situation<'_>) -> Next {
    let pending = situation.pending;
    let waits_for_sipi = situation.activity == activity::WAIT_FOR_SIPI;
    if pending.triple_fault {
        return situation.unless_run_pending(Next::TripleFault);
    }
    if pending.init {
        return situation.unless_busy(match waits_for_sipi {
            true => Next::Discard(Signal::Init),
            false => Next::Init,
        });
    }
    if let Some(vector) = pending.sipi {
        return match waits_for_sipi {
            true => situation.unless_busy(Next::Sipi(vector)),
            // No VM exit, so nothing holds it up.
            false => Next::Discard(Signal::Sipi),
        };
    }
    if let Some(exception) = pending.exception
        && exception.class == Class::Fault
    {
        return situation.exception(exception);
    }
    if pending.monitor_trap {
        return situation.unless_busy(Next::MonitorTrap);
    }
    if let Some(exception) = pending.exception {
        return situation.exception(exception);
    }
    if waits_for_sipi {
        // SMIs, NMIs and external interrupts are blocked, and the preemption timer causes no exit
        // (SDM volume 3, sections 27.5.1 and 28.7.2).
        return Next::Nothing;
    }
    if situation.timer_expired {
        return situation.unless_busy(Next::PreemptionTimer);
    }
    if pending.smi && !situation.in_smm {
        return situation.unless_busy(Next::Smm);
    }
    if pending.nmi && !situation.nmi_blocked() {
        let exits = situation.vmcs12.pin().contains(PinControls::NMI_EXITING);
        return situation.unless_busy(match exits {
            true => Next::NmiExit,
            false => Next::NmiInjection,
        });
    }
    if situation.activity == activity::SHUTDOWN {
        // External interrupts do not end it.
        return Next::Nothing;
    }
    situation
        .interrupt
        .and_then(|vector| situation.interrupt(vector))
        .unwrap_or(Next::Nothing)
}
