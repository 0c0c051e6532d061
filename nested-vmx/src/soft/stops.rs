// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where the guest that runs stops: at L1's instructions that L0 has to see, at handlers, behind single
//! instructions.

use alloc::vec::Vec;
use core::ops::Range;

use super::copied_stop::{self, Halt};
use super::engine::Limit;
use super::idt::{Handlers, code_address};
use super::instruction::{Fetched, Kind};
use super::sites::HLT;
use super::space::{Space, word};
use super::state::{LOW, RCX, RDX};
use super::user_code::UserCode;
use super::vcpu::{Catch, SoftVcpu};
use super::world::World;
use crate::operand::Mode;
use crate::registers::rflags;

const PAGE: usize = 4096;

/// How many stops there may be.
const MOST_STOPS: usize = 1 << 20;

/// Where SYSCALL goes, of 64-bit code and of other.
const LSTAR: u32 = 0xc000_0082;
const CSTAR: u32 = 0xc000_0083;

/// The handlers at which a guest stops, and where that was.
#[derive(Debug, Default)]
pub(crate) struct Stopped {
    handlers: Handlers,
    /// CR0, CR3, CR4.
    paging: (u64, u64, u64),
    bases: Vec<(u16, u64)>,
    /// Where the handlers are, in ascending order.
    addresses: Vec<u64>,
    runs: Vec<Run>,
    /// How often a stop had been taken away.
    removals: u64,
}

/// Handlers that are in one page.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    /// Which of the addresses.
    which: Range<usize>,
    /// The first one.
    linear: u64,
    physical: u64,
    /// From the first byte of the first one to that of the last one.
    length: usize,
}

/// Where these addresses, in ascending order, are in memory.
fn runs(addresses: &[u64], space: &Space<'_>) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut start = 0;
    for part in addresses.chunk_by(|one, other| one >> 12 == other >> 12) {
        let which = start..start + part.len();
        start = which.end;
        let [first, ..] = part else {
            continue;
        };
        let last = part.last().unwrap_or(first);
        if let Ok(physical) = space.code(*first) {
            runs.push(Run {
                which,
                linear: *first,
                physical,
                length: (last - first) as usize + 1,
            });
        }
    }
    runs
}

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
        let is_l2 = self.vmx.operation().is_non_root();
        // Real mode has no VMX, and an L1's tables there lead to firmware that is not there.
        if !is_l2 && !self.state.is_protected() {
            return;
        }
        self.handlers = self.with_space(Handlers::read);
        // User code that shares the kernel's has its stops set when it is entered.
        let has_none = self.state.cpl() == 3 && self.user_code == UserCode::Shared;
        if is_l2 || self.catch == Catch::Steps {
            self.stop_at_all_handlers();
        } else if !has_none {
            self.scan_handlers();
        }
    }

    /// CR0, CR3, CR4.
    fn paging_registers(&self) -> (u64, u64, u64) {
        let vmcs = &self.state.vmcs;
        (vmcs.guest_cr0(), vmcs.guest_cr3(), vmcs.guest_cr4())
    }

    /// The guest that runs stops at each of its handlers.
    pub(super) fn stop_at_all_handlers(&mut self) {
        let slot = usize::from(self.vmx.operation().is_non_root());
        let stopped = self.stopped.get_mut(slot).map(core::mem::take);
        let stopped = self.stop_at_handlers(stopped.unwrap_or_default());
        if let Some(last) = self.stopped.get_mut(slot) {
            *last = stopped;
        }
    }

    /// L1 can make L0 set stops all over its memory; each takes some of the VMM's. The handlers and
    /// the code at RIP are gone through anew then.
    pub(super) fn bound_stops(&mut self) {
        if self.sites.len() > MOST_STOPS {
            self.forget_stops();
        }
    }

    /// Takes all stops away; what was gone through is to be gone through once more.
    pub(super) fn forget_stops(&mut self) {
        self.sites.clear(self.world.memory());
        self.scanned.clear();
        self.scanned_handlers = None;
    }

    /// The code that L1's user code gets to by SYSCALL and SYSENTER.
    pub(super) fn system_calls(&self) -> impl Iterator<Item = u64> + use<W> {
        let entries = [
            self.whole.msr(LSTAR),
            self.whole.msr(CSTAR),
            Some(self.state.vmcs.guest_sysenter_eip()),
        ];
        entries.into_iter().flatten().filter(|entry| *entry != 0)
    }

    fn scan_handlers(&mut self) {
        let known = (self.paging_registers(), self.handlers.clone());
        if self.scanned_handlers.as_ref() == Some(&known) {
            return;
        }
        let addresses = self.with_handlers(Handlers::addresses);
        addresses.into_iter().for_each(|start| self.scan(start));
        self.scanned_handlers = Some(known);
    }

    /// The guest may write over a stop, or have another page where one was, and runs on if it gets to
    /// that handler: so all are looked at each time, a page of them at once.
    fn stop_at_handlers(&mut self, last: Stopped) -> Stopped {
        let paging = self.paging_registers();
        let bases = self.with_handlers(Handlers::bases);
        let same = last.paging == paging && last.bases == bases && last.handlers == self.handlers;
        let (handlers, addresses) = match same {
            true => (last.handlers, last.addresses),
            false => {
                let addresses = self.with_handlers(Handlers::addresses);
                (self.handlers.clone(), addresses)
            }
        };
        let runs = self.with_space(|_, space| runs(&addresses, space));
        let removals = self.sites.removals();
        let are_known = same && last.runs == runs && last.removals == removals;
        let mut bytes = [0; PAGE];
        for run in &runs {
            let Some(bytes) = bytes.get_mut(..run.length) else {
                continue;
            };
            let is_read = self.world.memory().read(run.physical, bytes).is_ok();
            for linear in addresses.get(run.which.clone()).unwrap_or_default() {
                let at = linear.wrapping_sub(run.linear);
                let byte = bytes.get(at as usize);
                if is_read && !(are_known && byte == Some(&HLT)) {
                    let physical = run.physical.wrapping_add(at);
                    self.sites.set(self.world.memory(), physical);
                }
            }
        }
        Stopped {
            handlers,
            paging,
            bases,
            addresses,
            runs,
            removals,
        }
    }

    /// Makes the guest that runs stop at a linear address. Says whether it does.
    pub(crate) fn stop_at(&mut self, linear: u64) -> bool {
        let found = self.with_space(|_, space| space.code(linear));
        found.is_ok_and(|physical| self.sites.set(self.world.memory(), physical))
    }

    /// A step may go over the instruction behind MOV SS, which no trap follows, and behind those that
    /// load RFLAGS without the step's flag: there the guest stops instead.
    pub(crate) fn stop_behind(&mut self, fetched: &Fetched) -> Limit {
        use iced_x86::Mnemonic as M;
        let next = match fetched.instruction.mnemonic() {
            _ if fetched.kind() == Kind::LoadSs => Some(self.behind(fetched)),
            M::Popf | M::Popfd | M::Popfq => Some(self.behind(fetched)),
            M::Iret => self.iret_target(2),
            M::Iretd => self.iret_target(4),
            M::Iretq => self.iret_target(8),
            // They change the flag as well, or save it where L2 sees it.
            M::Syscall if self.state.mode() == Mode::Bits64 => self.engine_mut().msr(LSTAR),
            M::Syscall => self.engine_mut().msr(CSTAR),
            M::Sysenter => Some(self.state.vmcs.guest_sysenter_eip()),
            M::Sysretq => Some(self.state.register(RCX)),
            M::Sysret => Some(self.state.register(RCX) & LOW),
            M::Sysexitq => Some(self.state.register(RDX)),
            M::Sysexit => Some(self.state.register(RDX) & LOW),
            _ => None,
        };
        match next {
            Some(next) if self.stop_at(next) => Limit::Stop,
            _ => Limit::Step,
        }
    }

    fn behind(&self, fetched: &Fetched) -> u64 {
        let next = self.state.linear_rip().wrapping_add(fetched.length());
        match self.state.mode() {
            Mode::Bits64 => next,
            _ => next & LOW,
        }
    }

    /// The linear address to which an IRET of so many bytes returns, if it can.
    fn iret_target(&mut self, size: usize) -> Option<u64> {
        let top = self.state.linear_rsp();
        self.with_space(|state, space| {
            let mut frame = [0; 24];
            let frame = frame.get_mut(..3 * size)?;
            space.read(top, frame).ok()?;
            let word = |at: usize| word(frame.get(at * size..(at + 1) * size).unwrap_or_default());
            let selector = word(1) as u16;
            let is_v86 = word(2) & rflags::VM != 0 && size == 4 && !state.is_long();
            match !state.is_protected() || is_v86 {
                true => Some(u64::from(selector) << 4).map(|base| base.wrapping_add(word(0)) & LOW),
                false => code_address(selector, word(0), state, space),
            }
        })
    }

    /// Puts the guest's byte in place of a HLT that is a copy of a stop. Says whether it was one.
    pub(super) fn mend_copied_stop(&mut self, physical: u64) -> bool {
        let slot = usize::from(self.vmx.operation().is_non_root());
        let last = self.own_halts.get(slot).copied().flatten();
        let memory = self.world.memory();
        match copied_stop::judge(memory, &self.sites, physical, last) {
            Halt::Own(own) => {
                if let Some(last) = self.own_halts.get_mut(slot) {
                    *last = own;
                }
                false
            }
            Halt::Copied(byte) => {
                self.sites.remove(memory, physical);
                memory.write(physical, &[byte]).is_ok()
            }
        }
    }

    /// Whether the guest, which was let run like this, stands behind the HLT of a stop; then it stands
    /// before it again.
    ///
    /// One step goes over the HLT of a handler to which an exception has led. Behind any other it is
    /// where the instruction leads to: the next function, say, behind the RET of the one before.
    pub(crate) fn back_to_stop(&mut self, limit: Limit) -> bool {
        let at = self.state.linear_rip().wrapping_sub(1);
        let found = self.with_space(|_, space| space.code(at));
        let is_stop = found.is_ok_and(|physical| self.sites.contains(physical))
            && (limit == Limit::Stop || self.is_handler(at));
        if is_stop {
            self.state.set_rip(self.state.rip().wrapping_sub(1));
        }
        is_stop
    }

    /// Whether a handler begins there.
    pub(super) fn is_handler(&mut self, linear: u64) -> bool {
        self.with_handlers(|handlers, state, space| {
            (0..=255).any(|vector| handlers.address(vector, state, space) == Some(linear))
        })
    }

    /// Whether the guest has really executed a HLT of its own. A KVM that emulates may tell of a HLT
    /// that a step had gone over, one instruction late.
    pub(super) fn is_behind_halt(&mut self) -> bool {
        let at = self.state.linear_rip().wrapping_sub(1);
        let mut byte = [0];
        let read = self.with_space(|_, space| space.read(at, &mut byte));
        read.is_ok() && byte == [HLT]
    }
}
