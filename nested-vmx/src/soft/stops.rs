// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where the guest that runs stops: at L1's instructions that L0 has to see, at handlers, behind single
//! instructions.

use alloc::vec::Vec;

use super::engine::Limit;
use super::idt::Handlers;
use super::instruction::{Fetched, Kind};
use super::sites::HLT;
use super::vcpu::{Catch, Prepared, SoftVcpu};
use super::world::World;
use crate::operand::Mode;

/// ECX in 32-bit and in 64-bit code.
const LOW: u64 = 0xffff_ffff;

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
        let slot = usize::from(is_l2);
        let vmcs = &self.state.vmcs;
        let (cr0, cr3, cr4) = (vmcs.guest_cr0(), vmcs.guest_cr3(), vmcs.guest_cr4());
        let last = self.prepared.get_mut(slot).and_then(Option::take);
        let last = last.filter(|last| {
            (last.cr0, last.cr3, last.cr4) == (cr0, cr3, cr4) && last.handlers == handlers
        });
        self.handlers = handlers.clone();
        let prepared = match last {
            Some(last) if self.still_stops(&last) => Prepared {
                removals: self.sites.removals(),
                ..last
            },
            _ => {
                let addresses = self.with_space(|state, space| handlers.addresses(state, space));
                let stops = match scans {
                    true => {
                        addresses.into_iter().for_each(|start| self.scan(start));
                        Vec::new()
                    }
                    false => self.stop_at(&addresses),
                };
                Prepared {
                    cr0,
                    cr3,
                    cr4,
                    handlers,
                    stops,
                    removals: self.sites.removals(),
                }
            }
        };
        if let Some(place) = self.prepared.get_mut(slot) {
            *place = Some(prepared);
        }
    }

    /// Whether the guest stops at all of these places: it may have written over them, or have put
    /// other memory there. They are looked at page by page.
    fn still_stops(&mut self, prepared: &Prepared) -> bool {
        const PAGE: u64 = 4096;
        let mut page = None;
        let mut bytes = alloc::vec![0; PAGE as usize];
        let are_listed = prepared.removals == self.sites.removals();
        for &(linear, physical) in &prepared.stops {
            let here = (linear / PAGE, physical / PAGE);
            if page != Some(here) {
                let found = self
                    .with_space(|_, space| space.translate(linear, crate::paging::Access::Fetch));
                let start = physical / PAGE * PAGE;
                let is_there =
                    found == Ok(physical) && self.world.memory().read(start, &mut bytes).is_ok();
                if !is_there {
                    return false;
                }
                page = Some(here);
            }
            let at = (physical % PAGE) as usize;
            let is_listed = are_listed || self.sites.contains(physical);
            if bytes.get(at) != Some(&HLT) || !is_listed {
                return false;
            }
        }
        true
    }

    /// Makes the guest that runs stop at these linear addresses: where they are, as far as there is
    /// memory.
    pub(crate) fn stop_at(&mut self, addresses: &[u64]) -> Vec<(u64, u64)> {
        let mut stops = Vec::new();
        for &linear in addresses {
            let found =
                self.with_space(|_, space| space.translate(linear, crate::paging::Access::Fetch));
            if let Ok(physical) = found
                && self.sites.set(self.world.memory(), physical)
            {
                stops.push((linear, physical));
            }
        }
        stops
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
                let Some(target) = self.iret_target(size) else {
                    return Limit::Step;
                };
                target
            }
            _ => return Limit::Step,
        };
        match self.stop_at(&[next]).is_empty() {
            true => Limit::Step,
            false => Limit::Stop,
        }
    }

    /// Where an IRET goes whose operands have `size` bytes.
    fn iret_target(&mut self, size: usize) -> Option<u64> {
        /// The stack pointer has 32 bits (SS.B).
        const BIG: u32 = 1 << 14;
        let mask = match self.state.mode() {
            Mode::Bits64 => u64::MAX,
            _ if self.state.vmcs.guest_ss_ar_bytes() & BIG != 0 => LOW,
            _ => 0xffff,
        };
        let stack = super::exits::segment_base(iced_x86::Register::SS, &self.state);
        let rsp = self.state.rsp();
        self.with_space(|state, space| {
            let pop = |number: usize| {
                let mut bytes = [0; 8];
                let at = rsp.wrapping_add((number * size) as u64) & mask;
                space
                    .read(stack.wrapping_add(at), bytes.get_mut(..size)?)
                    .ok()?;
                Some(u64::from_le_bytes(bytes))
            };
            let (offset, selector) = (pop(0)?, pop(1)? as u16);
            if !state.is_protected() {
                return Some((u64::from(selector) << 4).wrapping_add(offset));
            }
            Some(super::idt::code_address(selector, offset, state, space))
        })
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
