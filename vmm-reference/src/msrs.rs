// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Model-specific registers as firmware leaves them to an operating system.
//!
//! The time-stamp counter is not among them: KVM starts it when it makes the vCPUs, in step with
//! one another, and writing it one vCPU at a time could only disturb that.

use kvm_bindings::{Msrs, kvm_msr_entry};
use kvm_ioctls::VcpuFd;
use thiserror::Error;

/// A register that KVM did not take.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MsrError {
    /// The call itself failed.
    #[error("KVM_SET_MSRS: {0}")]
    Kvm(#[from] kvm_ioctls::Error),
    /// KVM stopped at one of them.
    #[error("KVM lists MSR {index:#x} and refuses to set it to {data:#x}")]
    Refused {
        /// The register.
        index: u32,
        /// The value.
        data: u64,
    },
    /// More than KVM takes at once.
    #[error("{0} MSRs are more than KVM takes at once")]
    TooMany(usize),
}

const IA32_SYSENTER_CS: u32 = 0x174;
const IA32_SYSENTER_ESP: u32 = 0x175;
const IA32_SYSENTER_EIP: u32 = 0x176;
const IA32_MISC_ENABLE: u32 = 0x1a0;
const IA32_MTRR_DEF_TYPE: u32 = 0x2ff;
const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const CSTAR: u32 = 0xc000_0083;
const SYSCALL_MASK: u32 = 0xc000_0084;
const KERNEL_GS_BASE: u32 = 0xc000_0102;

/// `IA32_MISC_ENABLE`: string operations may be fast.
const FAST_STRINGS: u64 = 1;
/// `IA32_MTRR_DEF_TYPE`: memory-type ranges are on, and all memory is write-back.
const MTRR_ENABLED_WRITE_BACK: u64 = 1 << 11 | 6;

/// Set where KVM lists them.
const LISTED: [(u32, u64); 9] = [
    (IA32_SYSENTER_CS, 0),
    (IA32_SYSENTER_ESP, 0),
    (IA32_SYSENTER_EIP, 0),
    (IA32_MISC_ENABLE, FAST_STRINGS),
    (STAR, 0),
    (LSTAR, 0),
    (CSTAR, 0),
    (SYSCALL_MASK, 0),
    (KERNEL_GS_BASE, 0),
];

/// What to set, given the result of `KVM_GET_MSR_INDEX_LIST`.
pub fn at_boot(listed: &[u32]) -> Vec<kvm_msr_entry> {
    LISTED
        .into_iter()
        .filter(|(index, _)| listed.contains(index))
        .map(entry)
        .collect()
}

/// Sets them all on a vCPU.
///
/// # Errors
/// [`MsrError`] names the register that KVM did not take.
pub fn set_at_boot(vcpu: &VcpuFd, listed: &[u32]) -> Result<(), MsrError> {
    set(vcpu, &at_boot(listed))?;
    // Most KVMs emulate it and few list it. Without it, Linux says so and goes on.
    if let Err(error) = set(
        vcpu,
        &[entry((IA32_MTRR_DEF_TYPE, MTRR_ENABLED_WRITE_BACK))],
    ) {
        log::info!("memory types are left as they are: {error}");
    }
    Ok(())
}

fn entry((index, data): (u32, u64)) -> kvm_msr_entry {
    kvm_msr_entry {
        index,
        data,
        ..Default::default()
    }
}

/// KVM returns how many it has set, and stops at the first that it does not take.
fn set(vcpu: &VcpuFd, entries: &[kvm_msr_entry]) -> Result<(), MsrError> {
    let msrs = Msrs::from_entries(entries).map_err(|_| MsrError::TooMany(entries.len()))?;
    let done = vcpu.set_msrs(&msrs)?;
    match entries.get(done) {
        None => Ok(()),
        Some(refused) => Err(MsrError::Refused {
            index: refused.index,
            data: refused.data,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_kvm_lists_is_set() {
        assert!(at_boot(&[]).is_empty());
        let some = at_boot(&[0x10, IA32_MISC_ENABLE, STAR]);
        let some: Vec<_> = some.iter().map(|entry| (entry.index, entry.data)).collect();
        assert_eq!(some, [(IA32_MISC_ENABLE, 1), (STAR, 0)]);
        let all: Vec<u32> = LISTED.iter().map(|(index, _)| *index).collect();
        assert_eq!(at_boot(&all).len(), LISTED.len());
    }

    #[test]
    fn kvm_takes_them() {
        let Ok(kvm) = kvm_ioctls::Kvm::new() else {
            eprintln!("SKIPPED: kvm_takes_them: no usable /dev/kvm");
            return;
        };
        let listed = kvm.get_msr_index_list().unwrap();
        let vm = kvm.create_vm().unwrap();
        vm.create_irq_chip().unwrap();
        let vcpu = vm.create_vcpu(0).unwrap();
        set_at_boot(&vcpu, listed.as_slice()).unwrap();
        let mut read = Msrs::from_entries(&at_boot(listed.as_slice())).unwrap();
        let expected = at_boot(listed.as_slice());
        assert_eq!(vcpu.get_msrs(&mut read).unwrap(), expected.len());
        for (read, expected) in read.as_slice().iter().zip(expected) {
            assert_eq!((read.index, read.data), (expected.index, expected.data));
        }
        // What no KVM has.
        let error = set(&vcpu, &[entry((0xdead_0000, 1))]).unwrap_err();
        assert!(error.to_string().contains("0xdead0000"), "{error}");
    }
}
