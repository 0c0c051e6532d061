// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A VM entry to be checked.

use super::context::Context;
use super::failure::Failure;
use super::failures::Failures;
use super::rule::Rule;
use crate::capability::Capabilities;
use crate::memory::L1Memory;
use crate::msrs::Msrs;
use crate::vmcs::{LaunchState, Vmcs};

/// How L2 is to be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryInstruction {
    /// VMLAUNCH.
    Vmlaunch,
    /// VMRESUME.
    Vmresume,
}

/// What of L1's state a VM entry depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct L1State {
    /// CR0.
    pub cr0: u64,
    /// CR4.
    pub cr4: u64,
    /// IA32_EFER.
    pub efer: u64,
    /// L1 is in SMM.
    pub in_smm: bool,
}

impl L1State {
    /// L1 outside SMM.
    pub const fn new(cr0: u64, cr4: u64, efer: u64) -> Self {
        Self {
            cr0,
            cr4,
            efer,
            in_smm: false,
        }
    }
}

/// A VM entry to be checked.
#[derive(Clone, Copy)]
pub struct EntryRequest<'a> {
    /// What the virtual processor can do.
    pub capabilities: &'a Capabilities,
    /// The current VMCS.
    pub vmcs12: &'a Vmcs,
    /// L1's state.
    pub l1: L1State,
    /// How L2 is to be entered.
    pub instruction: EntryInstruction,
    /// Events are blocked by MOV SS in L1.
    pub mov_ss: bool,
    /// The physical address of the current VMCS. `None`: there is no current VMCS, and the entry
    /// fails.
    pub current: Option<u64>,
    /// L1's memory. Without it, what is in memory is taken to be right: the virtual TPR, the linked
    /// VMCS, PDPTEs, and the contents of the MSR-load area.
    pub memory: Option<&'a dyn L1Memory>,
    /// The virtual processor's MSRs. Without them, values in the MSR-load area are taken to be
    /// right; indices that no VM entry loads are still refused.
    pub msrs: Option<&'a dyn Msrs>,
}

impl<'a> EntryRequest<'a> {
    /// An address that no VMCS has, since it is not aligned: a current VMCS that is nowhere, and so
    /// is not the linked one.
    const NOWHERE: u64 = u64::MAX - 1;

    /// The entry with the instruction that the launch state asks for, without memory and MSRs.
    pub const fn new(capabilities: &'a Capabilities, vmcs12: &'a Vmcs, l1: L1State) -> Self {
        Self {
            capabilities,
            vmcs12,
            l1,
            instruction: match vmcs12.launch_state() {
                LaunchState::Clear => EntryInstruction::Vmlaunch,
                LaunchState::Launched => EntryInstruction::Vmresume,
            },
            mov_ss: false,
            current: Some(Self::NOWHERE),
            memory: None,
            msrs: None,
        }
    }

    /// The same with L1's memory.
    pub const fn with_memory(self, memory: &'a dyn L1Memory) -> Self {
        Self {
            memory: Some(memory),
            ..self
        }
    }

    /// The same with the virtual processor's MSRs.
    pub const fn with_msrs(self, msrs: &'a dyn Msrs) -> Self {
        Self {
            msrs: Some(msrs),
            ..self
        }
    }

    /// The same with another instruction.
    pub const fn with_instruction(self, instruction: EntryInstruction) -> Self {
        Self {
            instruction,
            ..self
        }
    }

    /// Whether the entry succeeds.
    ///
    /// # Errors
    ///
    /// The first rule that it breaks, in the order of [`Rule::ALL`].
    pub fn check(&self) -> Result<(), Failure> {
        match Rule::first(&Context::new(self)) {
            Some((rule, violation)) => Err(Failure { rule, violation }),
            None => Ok(()),
        }
    }

    /// All rules that the entry breaks. Nothing is allocated.
    pub fn check_all(&self) -> Failures<'a> {
        Failures::new(*self, Rule::all(&Context::new(self)))
    }

    /// What breaks this rule, if anything does.
    pub fn check_rule(&self, rule: Rule) -> Option<Failure> {
        let violation = rule.check(&Context::new(self))?;
        Some(Failure { rule, violation })
    }
}

impl core::fmt::Debug for EntryRequest<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("EntryRequest")
            .field("vmcs12", &self.vmcs12)
            .field("l1", &self.l1)
            .field("instruction", &self.instruction)
            .field("mov_ss", &self.mov_ss)
            .field("current", &self.current)
            .finish_non_exhaustive()
    }
}
