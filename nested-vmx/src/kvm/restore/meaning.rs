// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What KVM's errors mean at each step, and what to do (kernel, `arch/x86/kvm/x86.c`,
//! `Documentation/virt/kvm/api.rst`).

use super::error::Action;
use super::step::Step;
use crate::kvm::Errno;

/// The meaning, and the remedy.
type Text = (&'static str, &'static str);

/// What this error means at this step.
pub(super) const fn of(step: Step, errno: Errno) -> Text {
    match (step, errno) {
        (_, Errno::EBADF) => (
            "the vCPU's file is closed",
            "keep the vCPU open until the restore is over",
        ),
        (_, Errno::EINTR) => ("a signal came", "do the step again"),
        (_, Errno::EIO) => (
            "the virtual machine is dead: KVM found a bug in itself, or another process uses it",
            "make a new virtual machine, in the process that uses it",
        ),
        (_, Errno::ENOMEM) => ("the kernel has no memory left", "free some and try again"),
        (_, Errno::EFAULT) => (
            "the data is not all in memory",
            "pass all of the state that was read",
        ),
        (_, Errno::ENOTTY) => (
            "this KVM does not have it",
            "check the capability first; a newer kernel may have it",
        ),
        (Step::Cpuid, Errno::EINVAL) => (
            "the vCPU has run already, or a leaf is not valid (physical-address width, XSAVE)",
            "set CPUID before the vCPU's first run, within KVM_GET_SUPPORTED_CPUID",
        ),
        (Step::Cpuid, Errno::E2BIG) => (
            "there are more entries than KVM takes",
            "leave out those that are empty",
        ),
        (Step::Cpuid, Errno::EBUSY) => (
            "the vCPU has run already",
            "set CPUID before the vCPU's first run",
        ),
        (Step::CapabilityMsrs | Step::Msrs, Errno::E2BIG) => (
            "there are more MSRs than KVM takes at once",
            "set them in several parts",
        ),
        (Step::CapabilityMsrs, Errno::EBUSY) => (
            "the vCPU is in VMX operation, and its capabilities cannot change",
            "set the capability MSRs before the nested state",
        ),
        (Step::Sregs, Errno::EINVAL) => (
            "CR0, CR4, IA32_EFER or the APIC base has bits that the vCPU's CPUID does not allow, or \
             that contradict each other; in VMX operation also bits that VMX does not allow",
            "set CPUID first, and segment and control registers before the nested state",
        ),
        (Step::Smm | Step::VcpuEvents, Errno::EINVAL) => (
            "a flag is unknown or its capability is not enabled (KVM_CAP_EXCEPTION_PAYLOAD, \
             KVM_CAP_X86_TRIPLE_FAULT_EVENT), an exception's vector is above 31, or SMM excludes \
             the multiprocessing state",
            "enable the capabilities that were enabled where the state comes from, and set the \
             multiprocessing state afterwards",
        ),
        (Step::NestedState, Errno::EINVAL) => (
            "KVM refuses the nested state, for any of some hundred rules",
            "let `judge` say which; see that CPUID and the capability MSRs are set, and L1's memory \
             is there",
        ),
        (Step::NestedState, Errno::E2BIG) => (
            "the buffer is smaller than the state",
            "pass a buffer of as many bytes as KVM_CAP_NESTED_STATE says",
        ),
        (Step::Xcrs, Errno::EINVAL) => (
            "XCR0 has bits that the vCPU's CPUID does not have",
            "set CPUID first, the same that the vCPU had",
        ),
        (Step::Xsave, Errno::EINVAL) => (
            "the extended states have components that the vCPU's CPUID does not have",
            "set CPUID first, the same that the vCPU had",
        ),
        (Step::Xsave, Errno::ENOSYS) => (
            "this port does not set extended states",
            "implement `VcpuPort::set_xsave`",
        ),
        (Step::DebugRegs, Errno::EINVAL) => (
            "bits 63:32 of DR6 or DR7, or a flag, are not 0",
            "clear them",
        ),
        (Step::Lapic, Errno::EINVAL) => (
            "the local APIC is not KVM's, or its ID is not the vCPU's",
            "create the interrupt controller before the vCPU (KVM_CREATE_IRQCHIP or \
             KVM_CAP_SPLIT_IRQCHIP), and set the APIC base first",
        ),
        (Step::MpState, Errno::EINVAL) => (
            "this state needs KVM's local APIC, or an INIT signal would be blocked as the vCPU is",
            "create the interrupt controller first, and set the multiprocessing state last",
        ),
        (Step::NestedState, _) => (
            "KVM refuses the nested state without an error, as it does for L2's CR3, and this is \
             the error of an earlier call",
            "let `judge` say what is wrong",
        ),
        (_, Errno::EINVAL) => (
            "KVM finds a value not valid",
            "compare it with what was read",
        ),
        (_, Errno::ENXIO) => ("the vCPU has no such thing", "check the capability first"),
        _ => (
            "KVM does not say more",
            "see the ioctl in Documentation/virt/kvm/api.rst",
        ),
    }
}

/// What it means that KVM stopped at an MSR.
pub(super) const fn of_msr(action: Action, step: Step) -> Text {
    match (action, step) {
        (Action::Read, _) => (
            "the vCPU does not have it",
            "leave it out, or give the vCPU the CPUID that has it",
        ),
        (Action::Write, Step::CapabilityMsrs) => (
            "the value is more than this host offers, the vCPU has no VMX in CPUID, or it is in VMX \
             operation already",
            "compare with `Offered::of` by `Capabilities::excess_over`, set CPUID first, and the \
             nested state later",
        ),
        (Action::Write, _) => (
            "the vCPU does not have it, or not this value",
            "set CPUID first, the same that the vCPU had",
        ),
    }
}
