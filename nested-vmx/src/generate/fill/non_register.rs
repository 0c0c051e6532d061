// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Non-register state of the guest (SDM volume 3, section 28.3.1.5).

use super::super::plan::{Blocking, Injection};
use super::Filler;
use crate::capability::Features;
use crate::controls::{PinControls as Pin, SecondaryControls as Secondary};
use crate::registers::{activity, debugctl, interruptibility, pending_debug, rflags};
use crate::vmcs::Field;

/// Bits 3:0 of the pending debug exceptions: breakpoints that were met.
const BREAKPOINTS: u64 = 0xf;
/// Bit 11: a bus lock.
const BUS_LOCK: u64 = 1 << 11;
/// The link pointer that points to nothing.
pub(in super::super) const NO_LINK: u64 = u64::MAX;
/// The shadow-VMCS indicator.
const SHADOW: u64 = 1 << 31;

impl Filler<'_, '_, '_> {
    pub(super) fn fill_non_register_state(&mut self) {
        self.set(Field::GuestActivityState, self.settled.activity);
        let blocking = self.interruptibility();
        self.set(Field::GuestInterruptibilityInfo, blocking);
        let pending = self.pending_debug_exceptions();
        self.set(Field::GuestPendingDbgExceptions, pending);
        let link = self.link();
        self.set(Field::VmcsLinkPointer, link);
    }

    fn interruptibility(&mut self) -> u32 {
        let mut state = match self.settled.blocking {
            Blocking::None => 0,
            Blocking::Sti => interruptibility::STI,
            Blocking::MovSs => interruptibility::MOV_SS,
        };
        let injects_nmi = self.settled.injection == Injection::Nmi;
        if !(injects_nmi && self.pin(Pin::VIRTUAL_NMIS)) && self.dice.once_in(4) {
            state |= interruptibility::NMI;
        }
        let in_enclave = self.has(Features::SGX) && self.settled.blocking != Blocking::MovSs;
        if in_enclave && self.dice.once_in(8) {
            state |= interruptibility::ENCLAVE;
        }
        state
    }

    fn pending_debug_exceptions(&mut self) -> u64 {
        let single_step = self.vmcs.guest_rflags() & rflags::TF != 0
            && self.vmcs.guest_ia32_debugctl() & debugctl::BTF == 0;
        // Where an event is held back, a single step is pending if and only if there is one.
        let is_bound =
            self.settled.blocking != Blocking::None || self.settled.activity == activity::HLT;
        let rtm_fits = self.has(Features::RTM)
            && self.settled.blocking != Blocking::MovSs
            && !(is_bound && single_step);
        let rtm = match self.plan.transaction {
            Some(wanted) => wanted && rtm_fits,
            None => rtm_fits && self.dice.once_in(8),
        };
        if rtm {
            return pending_debug::RTM | pending_debug::ENABLED_BREAKPOINT;
        }
        let mut allowed = BREAKPOINTS | pending_debug::ENABLED_BREAKPOINT | pending_debug::BS;
        if self.has(Features::BUS_LOCK_DEBUG) {
            allowed |= BUS_LOCK;
        }
        let pending = self.dice.bits() & allowed;
        match is_bound {
            true if single_step => pending | pending_debug::BS,
            true => pending & !pending_debug::BS,
            false => pending,
        }
    }

    fn link(&mut self) -> u64 {
        let is_linked = match self.plan.linked {
            Some(wanted) => wanted,
            None => self.dice.once_in(3),
        };
        if !is_linked {
            return NO_LINK;
        }
        let page = self.page();
        let shadow = match self.secondary(Secondary::VMCS_SHADOWING) {
            true => SHADOW,
            false => 0,
        };
        let revision = u64::from(self.capabilities.basic.revision());
        let others = self.word(page) & !0xffff_ffff;
        self.memory.set_word(page, others | shadow | revision);
        page
    }
}
