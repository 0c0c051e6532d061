// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the virtual processor can do, and L1's registers, from a file.
//!
//! Assignments, by line or separated by `|` or `,`: `480=…` or `IA32_VMX_BASIC=…` for an MSR, `cr0`,
//! `cr4`, `efer` for L1's registers, all hexadecimal; `maxphy` for the physical-address width,
//! decimal. A line may begin with `# caps NAME`.

use nested_vmx::capability::{Capabilities, Features, Processor, msr};
use nested_vmx::check::L1State;
use nested_vmx::registers::cr4;

use super::error::Problem;
use super::input::{assignments, number};

/// L1 in 64-bit mode.
pub const L1: L1State = L1State::new(0x8000_0031, 0x2020, 0x500);

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    pub capabilities: Capabilities,
    pub l1: L1State,
}

impl Given {
    /// All that the crate offers.
    pub fn software() -> Self {
        Self {
            capabilities: Capabilities::software(Processor::new(52)),
            l1: L1,
        }
    }

    /// Understands a file's text.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let text: String = text
            .lines()
            .map(|line| {
                let words = line.trim().strip_prefix("# caps ");
                let list = words.and_then(|words| words.split_once(char::is_whitespace));
                list.map_or(line, |(_, list)| list)
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        let mut l1 = L1;
        let mut width = 52;
        let mut msrs = Vec::new();
        for assignment in assignments(&text) {
            let (line, name, value) = assignment?;
            match name {
                "cr0" => l1.cr0 = number(line, value)?,
                "cr4" => l1.cr4 = number(line, value)?,
                "efer" => l1.efer = number(line, value)?,
                "maxphy" => {
                    width = value.parse().map_err(|_| Problem::Number {
                        line,
                        text: value.to_owned(),
                    })?;
                }
                _ => {
                    let by_name = msr::ALL
                        .iter()
                        .copied()
                        .find(|&index| msr::name(index) == Some(name));
                    let by_number = || u32::try_from(number(line, name).ok()?).ok();
                    let index = by_name
                        .or_else(by_number)
                        .filter(|&index| msr::name(index).is_some())
                        .ok_or_else(|| Problem::Capability {
                            line,
                            text: name.to_owned(),
                        })?;
                    msrs.push((index, number(line, value)?));
                }
            }
        }
        if msrs.is_empty() {
            return Err(Problem::Empty);
        }
        let mut processor = Processor::new(width);
        // What CPUID says beyond that is not in the file: what CR4 may have, the processor has.
        processor.perf_global_ctrl = u64::MAX;
        let mut capabilities = Capabilities::from_msrs(processor, msrs);
        let cet = Features::CET_SS.union(Features::CET_IBT);
        for (bit, features) in [(cr4::LA57, Features::LA57), (cr4::CET, cet)] {
            if capabilities.cr4_fixed1 & bit != 0 {
                capabilities.processor.features.insert(features);
            }
        }
        Ok(Self { capabilities, l1 })
    }
}
