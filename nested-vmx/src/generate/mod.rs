// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Near-valid states from random bytes (feature `arbitrary`): a vmcs12 that passes all VM-entry
//! checks, or one that breaks exactly one rule of them.
//!
//! Random bytes almost never make a state that gets past the first checks. A fuzzer that wants to
//! reach what comes after a VM entry, and a test of one rule among many, begin here.
//!
//! ```
//! use arbitrary::Unstructured;
//! use nested_vmx::capability::{Capabilities, Processor};
//! use nested_vmx::check::Rule;
//! use nested_vmx::generate::Scenario;
//!
//! # let fuzzer_input = &[7; 2000];
//! let capabilities = Capabilities::software(Processor::new(40));
//! let mut u = Unstructured::new(fuzzer_input);
//! if let Some(valid) = Scenario::before_breaking(Rule::SsDpl, &capabilities, &mut u) {
//!     assert!(valid.request().check().is_ok());
//!     if let Some(broken) = valid.break_rule(Rule::SsDpl, &mut u) {
//!         assert_eq!(broken.request().check().unwrap_err().rule, Rule::SsDpl);
//!     }
//! }
//! ```

mod controls;
mod dice;
mod fill;
mod inseparable;
mod memory;
mod mode;
mod plan;
mod recipes;
mod registers;
mod spoiler;

pub use inseparable::inseparable_from;
pub use memory::Memory;
pub use mode::Mode;
pub use registers::SomeMsrs;

use arbitrary::Unstructured;

use crate::capability::Capabilities;
use crate::check::{EntryInstruction, EntryRequest, L1State, Rule};
use crate::registers::efer;
use crate::vmcs::Vmcs;
use dice::Dice;
use fill::Filler;
use plan::{Plan, Settled};
use spoiler::Spoiler;

/// A VM entry with everything that its checks look at.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What the processor that L1 sees can do.
    pub capabilities: Capabilities,
    /// The current VMCS.
    pub vmcs12: Vmcs,
    /// Where it is in L1's memory. `None`: there is no current VMCS.
    pub address: Option<u64>,
    /// The instruction that enters L2.
    pub instruction: EntryInstruction,
    /// L1's memory, with what the checks read there.
    pub memory: Memory,
    /// L1's registers.
    pub l1: L1State,
    /// Whether L1 executes the instruction while events are blocked by MOV SS.
    pub mov_ss: bool,
}

impl Scenario {
    /// The VM entry to be checked.
    pub fn request(&self) -> EntryRequest<'_> {
        EntryRequest {
            capabilities: &self.capabilities,
            vmcs12: &self.vmcs12,
            l1: self.l1,
            instruction: self.instruction,
            mov_ss: self.mov_ss,
            current: self.address,
            memory: Some(&self.memory),
            msrs: Some(&SomeMsrs),
        }
    }

    /// A state that a processor with these capabilities accepts, from random bytes. The fewer
    /// bytes, the simpler it is.
    ///
    /// `None` if there is no such state that this finds: with capabilities that no processor has,
    /// control bits may be asked for that exclude each other. With those of a processor, and what
    /// [`Capabilities::narrow`] makes of them, there is one.
    pub fn arbitrary(capabilities: &Capabilities, u: &mut Unstructured<'_>) -> Option<Self> {
        let mut dice = Dice(u);
        Self::planned(&Plan::ANY, capabilities, &mut dice).map(|(scenario, _)| scenario)
    }

    /// A valid state in which this rule can be broken, as far as these capabilities let it be.
    pub fn before_breaking(
        rule: Rule,
        capabilities: &Capabilities,
        u: &mut Unstructured<'_>,
    ) -> Option<Self> {
        let mut plan = Plan::ANY;
        (recipes::of(rule)?.plan)(&mut plan);
        Self::planned(&plan, capabilities, &mut Dice(u)).map(|(scenario, _)| scenario)
    }

    /// The same state with this rule broken, and no other. `None` where this state does not have
    /// what the rule is about.
    pub fn break_rule(&self, rule: Rule, u: &mut Unstructured<'_>) -> Option<Self> {
        let mut broken = self.clone();
        let mut spoiler = Spoiler {
            scenario: &mut broken,
            dice: &mut Dice(u),
        };
        (recipes::of(rule)?.spoil)(&mut spoiler)?;
        Some(broken)
    }

    /// As [`Scenario::arbitrary`], with L2 in this mode.
    pub fn in_mode(
        mode: Mode,
        capabilities: &Capabilities,
        u: &mut Unstructured<'_>,
    ) -> Option<Self> {
        let plan = Plan {
            mode: Some(mode),
            ..Plan::ANY
        };
        Self::planned(&plan, capabilities, &mut Dice(u)).map(|(scenario, _)| scenario)
    }

    fn planned(
        plan: &Plan,
        capabilities: &Capabilities,
        dice: &mut Dice<'_, '_>,
    ) -> Option<(Self, Settled)> {
        let settled = plan.settle(capabilities, dice)?;
        let memory = Memory::new(capabilities.beyond_physical());
        let mut filler = Filler {
            capabilities,
            plan,
            settled: &settled,
            dice,
            memory: &memory,
            vmcs: Vmcs::new(0),
            address: 0,
        };
        filler.fill();
        let Filler { vmcs, address, .. } = filler;
        let efer = match settled.host_is_64_bit {
            true => efer::LME | efer::LMA,
            false => 0,
        };
        let scenario = Self {
            capabilities: *capabilities,
            // L1 runs with what its VM exits would give it.
            l1: L1State::new(vmcs.host_cr0(), vmcs.host_cr4(), efer),
            vmcs12: vmcs,
            address: Some(address),
            instruction: settled.instruction,
            memory,
            mov_ss: false,
        };
        Some((scenario, settled))
    }
}
