// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where the guest that runs stops: at L1's instructions that L0 has to see, at handlers, behind single
//! instructions.

use super::engine::Limit;
use super::idt::Handlers;
use super::instruction::{Fetched, Kind};
use super::state::LOW;
use super::vcpu::{Catch, Prepared, SoftVcpu};
use super::world::World;
use crate::operand::Mode;

impl<W: World> SoftVcpu<W> {
    /// Goes through L1's code from a linear address on.
    pub(super) fn scan(&mut self, start: u64) {
        let paging = self.state.paging(self.vmx.capabilities().processor);
        self.scanned.scan(
            start,
            &self.state,
            paging,
            self.catch,
            self.world.memory(),
            &mut self.sites,
        );
    }

    /// The handlers are where the guest's code is entered without a branch: L1's are gone through, or
    /// L1 stops there; L2 stops there.
    pub(crate) fn prepare_handlers(&mut self) {
        let handlers = self.with_space(Handlers::read);
        let is_l2 = self.vmx.operation().is_non_root();
        let scans = !is_l2 && self.catch != Catch::Steps;
        // Real mode has no VMX, and an L1's tables there lead to firmware that is not there.
        if !is_l2 && !self.state.is_protected() {
            return;
        }
        let prepared = Prepared {
            cr0: self.state.vmcs.guest_cr0(),
            cr3: self.state.vmcs.guest_cr3(),
            cr4: self.state.vmcs.guest_cr4(),
            // What is gone through stays so.
            removals: if scans { 0 } else { self.sites.removals() },
        };
        let slot = usize::from(is_l2);
        let last = self.prepared.get(slot).and_then(Option::as_ref);
        let is_known = last.is_some_and(|last| last.0 == prepared && last.1 == handlers);
        if is_known {
            self.handlers = handlers;
            return;
        }
        let addresses = self.with_space(|state, space| handlers.addresses(state, space));
        self.handlers = handlers.clone();
        match scans {
            true => addresses.into_iter().for_each(|start| self.scan(start)),
            false => self.stop_at(&addresses),
        }
        if let Some(last) = self.prepared.get_mut(slot) {
            *last = Some((prepared, handlers));
        }
    }

    /// Makes the guest that runs stop at these linear addresses.
    pub(crate) fn stop_at(&mut self, addresses: &[u64]) {
        for &linear in addresses {
            let found =
                self.with_space(|_, space| space.translate(linear, crate::paging::Access::Fetch));
            if let Ok(physical) = found {
                self.sites.set(self.world.memory(), physical);
            }
        }
    }

    /// A step may go over the instruction behind MOV SS, which no trap follows, and behind those that
    /// load RFLAGS without the step's flag: there the guest stops instead.
    pub(crate) fn stop_behind(&mut self, fetched: &Fetched) -> Limit {
        use iced_x86::Mnemonic as M;
        let next = match fetched.instruction.mnemonic() {
            _ if fetched.kind() == Kind::LoadSs => {
                self.state.linear_rip().wrapping_add(fetched.length())
            }
            M::Popf | M::Popfd | M::Popfq => self.state.linear_rip().wrapping_add(fetched.length()),
            M::Iret | M::Iretd | M::Iretq => {
                let size = match fetched.instruction.mnemonic() {
                    M::Iret => 2,
                    M::Iretd => 4,
                    _ => 8,
                };
                let stack = super::exits::segment_base(iced_x86::Register::SS, &self.state);
                let from = stack.wrapping_add(self.state.rsp());
                let mut bytes = [0; 8];
                let Some(word) = bytes.get_mut(..size) else {
                    return Limit::Step;
                };
                if self.with_space(|_, space| space.read(from, word)).is_err() {
                    return Limit::Step;
                }
                // In IA-32e mode, and where all segments begin at 0: the address itself.
                let target = u64::from_le_bytes(bytes);
                match self.state.mode() {
                    Mode::Bits64 => target,
                    _ => self.state.vmcs.guest_cs_base().wrapping_add(target) & LOW,
                }
            }
            _ => return Limit::Step,
        };
        self.stop_at(&[next]);
        Limit::Stop
    }

    /// Whether the HLT behind which the guest stands is a stop; then it stands before it again.
    pub(crate) fn back_to_stop(&mut self) -> bool {
        let at = self.state.linear_rip().wrapping_sub(1);
        let found = self.with_space(|_, space| space.translate(at, crate::paging::Access::Fetch));
        let is_stop = found.is_ok_and(|physical| self.sites.contains(physical));
        if is_stop {
            self.state.set_rip(self.state.rip().wrapping_sub(1));
        }
        is_stop
    }

    /// Whether the guest has really executed a HLT of its own. A KVM that emulates may tell of a HLT
    /// that a step had gone over, one instruction late.
    pub(super) fn is_behind_halt(&mut self) -> bool {
        let at = self.state.linear_rip().wrapping_sub(1);
        let mut byte = [0];
        let read = self.with_space(|_, space| space.read(at, &mut byte));
        read.is_ok() && byte == [super::sites::HLT]
    }
}
