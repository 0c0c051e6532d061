// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whether this host's KVM comes back from the VMX instructions of a guest that has no VMX.

use kvm_ioctls::Kvm;
use vcpu_runner::kvm::{ProbeError, ProbeExit, ProbeGuest};

/// Some of each form, each with a HLT behind it. VMCALL is not among them: it is KVM's own hypercall, from
/// which an emulating KVM was seen never to come back.
const INSTRUCTIONS: [&[u8]; 4] = [
    // vmxoff
    &[0x0f, 0x01, 0xc4, 0xf4],
    // vmxon [rdi]
    &[0xf3, 0x0f, 0xc7, 0x37, 0xf4],
    // vmread rcx, rax
    &[0x0f, 0x78, 0xc1, 0xf4],
    // invept rax, [rdi]
    &[0x66, 0x0f, 0x38, 0x80, 0x07, 0xf4],
];

/// Whether each of them is a KVM_EXIT_INTERNAL_ERROR in the guest's kernel code. The other way is an
/// invalid-opcode exception of the guest's.
///
/// # Errors
/// When no guest can be run.
pub fn vmx_instructions_exit(kvm: &Kvm) -> Result<bool, ProbeError> {
    for code in INSTRUCTIONS {
        if ProbeGuest::new(kvm, code)?.run_on()? != ProbeExit::InternalError {
            return Ok(false);
        }
    }
    Ok(true)
}
