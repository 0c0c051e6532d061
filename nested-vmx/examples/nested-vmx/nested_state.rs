// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `struct kvm_nested_state` (Linux, `Documentation/virt/kvm/api.rst`, KVM_GET_NESTED_STATE), as a
//! VMM writes it to a file.

use nested_vmx::vmcs::{REGION_SIZE, Vmcs};

use super::error::Problem;
use super::input::vmcs12;

/// Bytes before the vmcs12.
pub const HEADER: usize = 128;

/// The header, and the VMCSs that follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NestedState {
    pub flags: u16,
    pub size: u32,
    pub vmxon: u64,
    pub vmcs12: u64,
    pub smm_flags: u16,
    pub header_flags: u32,
    pub preemption_timer_deadline: u64,
    pub current: Option<Vmcs>,
    pub shadow: Option<Vmcs>,
}

/// Names of the flags that are set, and what is left.
pub fn names(value: u64, known: &[(u64, &'static str)]) -> Vec<String> {
    let mut names: Vec<String> = known
        .iter()
        .filter(|&&(bit, _)| value & bit != 0)
        .map(|&(_, name)| name.to_owned())
        .collect();
    let rest = known.iter().fold(value, |value, &(bit, _)| value & !bit);
    if rest != 0 {
        names.push(format!("unknown {rest:#x}"));
    }
    names
}

impl NestedState {
    /// Names of `flags`.
    pub const FLAGS: &[(u64, &str)] = &[
        (1, "GUEST_MODE"),
        (2, "RUN_PENDING"),
        (4, "EVMCS"),
        (8, "MTF_PENDING"),
    ];
    /// Names of `smm_flags`.
    pub const SMM_FLAGS: &[(u64, &str)] = &[(1, "SMM_GUEST_MODE"), (2, "SMM_VMXON")];
    /// Names of `header_flags`.
    pub const HEADER_FLAGS: &[(u64, &str)] = &[(1, "PREEMPTION_TIMER_DEADLINE")];

    /// Understands a file's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let (header, data) = bytes
            .split_at_checked(HEADER)
            .ok_or(Problem::NoHeader(bytes.len()))?;
        let part = |at: usize, size: usize| {
            let mut value = [0; 8];
            // Within the header, which has all of its bytes.
            if let (Some(to), Some(from)) = (value.get_mut(..size), header.get(at..at + size)) {
                to.copy_from_slice(from);
            }
            u64::from_le_bytes(value)
        };
        let format = part(2, 2) as u16;
        if format != 0 {
            return Err(Problem::Format(format));
        }
        let size = part(4, 4) as u32;
        let said = usize::try_from(size).unwrap_or(usize::MAX);
        if said > bytes.len() {
            return Err(Problem::CutOff {
                said: size,
                found: bytes.len(),
            });
        }
        let data = said
            .checked_sub(HEADER)
            .and_then(|length| data.get(..length))
            .ok_or(Problem::Part(size))?;
        let regions = data.chunks(REGION_SIZE);
        if !data.len().is_multiple_of(REGION_SIZE) || regions.len() > 2 {
            return Err(Problem::Part(size));
        }
        let mut regions = regions.map(vmcs12);
        let pointer = part(16, 8);
        let current = regions.next().transpose()?.filter(|_| pointer != u64::MAX);
        if pointer != u64::MAX && current.is_none() {
            return Err(Problem::NoVmcs(pointer));
        }
        let shadow = regions
            .next()
            .transpose()?
            .filter(|shadow| shadow.as_bytes().iter().any(|&byte| byte != 0));
        Ok(Self {
            flags: part(0, 2) as u16,
            size,
            vmxon: part(8, 8),
            vmcs12: pointer,
            smm_flags: part(24, 2) as u16,
            header_flags: part(28, 4) as u32,
            preemption_timer_deadline: part(32, 8),
            current,
            shadow,
        })
    }
}
