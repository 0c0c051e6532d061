// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The steps of a restore, and which of them KVM wants before others.

use core::fmt;

/// A step that must come before another one, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// What comes first.
    pub step: Step,
    /// What happens otherwise, as a sentence without a full stop.
    pub reason: &'static str,
}

macro_rules! steps {
    ($($variant:ident $ioctl:literal, $what:literal, [$($first:ident $reason:literal),* $(,)?];)*) => {
        /// A step of a restore: one ioctl of the vCPU.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Step {
            $(
                #[doc = concat!($what, ": ", $ioctl, ".")]
                $variant,
            )*
        }

        impl Step {
            /// All steps, in an order that KVM takes.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The steps that must come before this one.
            pub const fn after(self) -> &'static [Dependency] {
                match self {
                    $(Self::$variant => &[$(Dependency {
                        step: Self::$first,
                        reason: $reason,
                    },)*],)*
                }
            }

            /// What it restores.
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$variant => $what,)*
                }
            }

            /// The ioctl that it is.
            pub const fn ioctl(self) -> &'static str {
                match self {
                    $(Self::$variant => $ioctl,)*
                }
            }
        }
    };
}

steps! {
    Cpuid "KVM_SET_CPUID2", "CPUID", [];
    CapabilityMsrs "KVM_SET_MSRS", "IA32_FEATURE_CONTROL and the VMX capability MSRs", [
        Cpuid "without VMX in CPUID these MSRs do not exist, and setting CPUID changes IA32_VMX_CR0_FIXED1 and IA32_VMX_CR4_FIXED1",
    ];
    Sregs "KVM_SET_SREGS", "segment and control registers, IA32_EFER, APIC base", [
        Cpuid "bits of CR4 and IA32_EFER are valid only where CPUID has the feature",
    ];
    Smm "KVM_SET_VCPU_EVENTS", "system-management mode", [];
    NestedState "KVM_SET_NESTED_STATE", "VMX operation and L2", [
        Cpuid "VMX operation needs VMX in CPUID, and addresses the physical-address width (EINVAL)",
        CapabilityMsrs "in VMX operation the VMX capability MSRs cannot change any more (EBUSY inside KVM, too few MSRs set), vmcs12 is checked with them (EINVAL), and IA32_FEATURE_CONTROL = 0 leaves VMX operation",
        Sregs "unless the entry is pending, L2's IA32_EFER is the vCPU's, and in VMX operation KVM takes only what VMX allows in CR0 and CR4 (EINVAL)",
        Smm "entering or leaving SMM throws the nested state away, and the SMM flags are taken only in SMM (EINVAL)",
    ];
    Regs "KVM_SET_REGS", "general-purpose registers, RIP, RFLAGS", [
        NestedState "KVM loads L2's RIP, RSP and RFLAGS from vmcs12",
    ];
    Xcrs "KVM_SET_XCRS", "XCR0", [
        Cpuid "bits of XCR0 are valid only where CPUID has the feature (EINVAL)",
    ];
    Fpu "KVM_SET_FPU", "x87 and SSE registers", [];
    Xsave "KVM_SET_XSAVE", "extended states", [
        Cpuid "components are valid only where CPUID has them (EINVAL)",
        Fpu "it has the x87 and SSE registers too, and all of them",
    ];
    DebugRegs "KVM_SET_DEBUGREGS", "debug registers", [
        NestedState "KVM loads L2's DR7 from vmcs12",
    ];
    Lapic "KVM_SET_LAPIC", "local APIC", [
        Cpuid "the APIC ID's place depends on x2APIC",
        Sregs "the APIC base says whether it is an x2APIC, and that decides how the registers are read (EINVAL)",
    ];
    Msrs "KVM_SET_MSRS", "all other MSRs", [
        Cpuid "MSRs exist only where CPUID has the feature (too few MSRs set)",
        NestedState "some of them are in the VMCS of the guest that runs: before, they become L1's instead of L2's",
        Lapic "IA32_TSC_DEADLINE is ignored while the timer is not in TSC-deadline mode",
    ];
    VcpuEvents "KVM_SET_VCPU_EVENTS", "events on their way, and what blocks them", [
        NestedState "blocking by STI, MOV SS and NMI is in the VMCS of the guest that runs, and leaving L2 forgets its events",
        Smm "it would change SMM behind the nested state, which is then thrown away",
        Lapic "a latched INIT and the start-up vector are the local APIC's",
    ];
    MpState "KVM_SET_MP_STATE", "whether the vCPU runs, halts, or waits for a start-up IPI", [
        Lapic "it is the local APIC that INIT and start-up IPIs come by",
        NestedState "whether INIT signals are blocked depends on VMX operation (EINVAL)",
        VcpuEvents "whether INIT signals are blocked depends on SMM (EINVAL)",
    ];
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what(), self.ioctl())
    }
}
