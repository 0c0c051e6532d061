// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L1's code, gone through before it runs: from where L1 is, along all branches whose targets are in
//! the instructions, with a stop at each instruction that L0 has to see. What lies between runs at
//! the processor's speed.
//!
//! A stop is needed where L0 acts for L1 (VMX instructions, CR4, MSRs, HLT and so on), and where
//! control goes to an address that only shows then: RET, JMP and CALL through registers or memory.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use iced_x86::FlowControl;

use super::instruction::{Fetched, Flow, Kind, flow};
use super::sites::{Sites, Unpatched};
use super::space::Space;
use super::state::CpuState;
use super::vcpu::Catch;
use crate::memory::L1Memory;
use crate::paging::PagingState;

/// The most instructions of one scan. Behind them is a stop, where the next scan begins.
const MOST: usize = 4096;

/// The most instructions that are remembered. L1 has as many addresses as it likes.
const MOST_REMEMBERED: usize = 1 << 20;

/// What was gone through.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    /// Linear addresses of instructions.
    instructions: BTreeSet<u64>,
    /// What the addresses mean depends on it.
    paging: Option<(u64, u64, u64, u64)>,
}

/// Whether L1 must stop before this instruction.
pub(crate) fn is_stop(fetched: &Fetched, catch: Catch) -> bool {
    match fetched.kind() {
        // VMCALL is a hypercall to each KVM.
        Kind::Vmx => {
            catch != Catch::Exits || fetched.instruction.mnemonic() == iced_x86::Mnemonic::Vmcall
        }
        kind => needs_l0(kind) || hides_its_target(fetched),
    }
}

/// Whether L0 has to act for L1, or to know of it.
pub(crate) fn needs_l0(kind: Kind) -> bool {
    match kind {
        Kind::Vmx
        | Kind::MovToCr { .. }
        | Kind::Rdmsr
        | Kind::Wrmsr
        | Kind::Hlt
        | Kind::Sti
        | Kind::LoadSs
        | Kind::Iret
        | Kind::Lmsw
        | Kind::Rsm
        | Kind::Getsec => true,
        Kind::MovFromCr { cr, .. } => cr == 4 || cr == 8,
        _ => false,
    }
}

fn hides_its_target(fetched: &Fetched) -> bool {
    let instruction = &fetched.instruction;
    match instruction.flow_control() {
        FlowControl::IndirectBranch | FlowControl::IndirectCall | FlowControl::Return => true,
        // Far ones, SYSCALL and the like.
        FlowControl::UnconditionalBranch | FlowControl::Call => flow(instruction) == Flow::Unknown,
        _ => false,
    }
}

impl Scanned {
    /// Forgets everything if paging is not what it was, or if it is too much: to go through it once
    /// more does no harm.
    fn agree(&mut self, state: &CpuState) {
        let paging = (
            state.vmcs.guest_cr0(),
            state.vmcs.guest_cr3(),
            state.vmcs.guest_cr4(),
            // The size of code matters as well.
            state.vmcs.guest_ia32_efer() << 2 | state.mode() as u64,
        );
        if self.paging != Some(paging) || self.instructions.len() >= MOST_REMEMBERED {
            self.paging = Some(paging);
            self.instructions.clear();
        }
    }

    /// Forgets everything, since the stops are gone.
    pub(crate) fn clear(&mut self) {
        self.instructions.clear();
    }

    /// How many instructions were gone through.
    pub(crate) fn len(&self) -> usize {
        self.instructions.len()
    }

    /// Goes through the code at `start`, unless that was done.
    pub(crate) fn scan(
        &mut self,
        start: u64,
        state: &CpuState,
        paging: PagingState,
        catch: Catch,
        memory: &dyn L1Memory,
        sites: &mut Sites,
    ) {
        self.agree(state);
        if self.instructions.contains(&start) {
            return;
        }
        let mut waiting: Vec<u64> = Vec::from([start]);
        let mut count = 0;
        while let Some(linear) = waiting.pop() {
            if self.instructions.contains(&linear) {
                continue;
            }
            let fetched = {
                let unpatched = Unpatched::new(memory, sites);
                let space = Space::new(&unpatched, None, paging);
                Fetched::at(linear, state, &space)
            };
            // Where nothing can be fetched, the processor finds the fault.
            let Ok(fetched) = fetched else {
                continue;
            };
            if is_stop(&fetched, catch) || count == MOST {
                sites.set(memory, fetched.physical);
                continue;
            }
            count += 1;
            self.instructions.insert(linear);
            // A stop from earlier, where code has changed since or L2 has stopped.
            sites.remove(memory, fetched.physical);
            if fetched.kind() == Kind::Vmx {
                // L0 is behind it then.
                continue;
            }
            let next = linear.wrapping_add(fetched.length());
            match flow(&fetched.instruction) {
                Flow::Next => waiting.push(next),
                Flow::Jump(target) => waiting.push(target),
                Flow::Branch(target) => waiting.extend([target, next]),
                Flow::Unknown => {}
            }
        }
    }
}
