// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The rules of KVM_SET_NESTED_STATE about everything but vmcs12's fields, one entry each, in the
//! order in which KVM checks them.

use super::case::Case;
use super::header;
use crate::kvm::Errno;

macro_rules! rules {
    ($($variant:ident $id:literal $errno:ident $stage:ident $check:ident, $text:literal, $remedy:literal;)*) => {
        /// A rule of KVM_SET_NESTED_STATE.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum SetRule {
            $(
                #[doc = concat!($text, ".")]
                $variant,
            )*
        }

        impl SetRule {
            /// All of them, in the order in which KVM checks them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// A short name that stays: `vmxon_address`.
            pub const fn id(self) -> &'static str {
                match self {
                    $(Self::$variant => $id,)*
                }
            }

            /// What KVM fails with.
            pub const fn errno(self) -> Errno {
                match self {
                    $(Self::$variant => Errno::$errno,)*
                }
            }

            /// What it asks for, as a sentence without a full stop.
            pub const fn requirement(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            /// What to do, as a sentence without a full stop.
            pub const fn remedy(self) -> &'static str {
                match self {
                    $(Self::$variant => $remedy,)*
                }
            }

            /// When KVM checks it.
            pub(super) const fn stage(self) -> Stage {
                match self {
                    $(Self::$variant => Stage::$stage,)*
                }
            }

            /// The value that breaks it, if one does.
            pub(super) fn check(self, case: &Case<'_>) -> Option<u64> {
                match self {
                    $(Self::$variant => header::$check(case),)*
                }
            }
        }
    };
}

/// When KVM checks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// `KVM_SET_NESTED_STATE` in x86.c.
    Ioctl,
    /// `vmx_set_nested_state`, before the vCPU leaves the VMX operation that it was in.
    Before,
    /// The same, behind that: the vCPU is in VMX root operation whatever comes.
    Behind,
}

impl Stage {
    pub(super) const fn function(self) -> &'static str {
        match self {
            Self::Ioctl => "kvm_arch_vcpu_ioctl",
            Self::Before | Self::Behind => "vmx_set_nested_state",
        }
    }
}

rules! {
    HeaderReadable "header_readable" EFAULT Ioctl header_readable, "The state has a header of 128 bytes", "pass all of the state that KVM_GET_NESTED_STATE gave";
    Size "size" EINVAL Ioctl size, "The size counts the header: 128 bytes at least", "set the size to 128, 4224 with a vmcs12, 8320 with a shadow vmcs12 besides";
    Flags "flags" EINVAL Ioctl flags, "There are no flags but GUEST_MODE, RUN_PENDING, EVMCS, MTF_PENDING and GIF_SET", "clear the others; a newer KVM may have made this state";
    RunPending "run_pending" EINVAL Ioctl run_pending, "RUN_PENDING goes with GUEST_MODE", "set GUEST_MODE too, or clear RUN_PENDING";
    Format "format" EINVAL Before format, "The format is 0, VMX", "restore this state on a host of the vendor that it comes from";
    OffSmm "off_smm" EINVAL Before off_smm, "Outside VMX operation (VMXON address all 1) the SMM flags are 0", "clear the SMM flags";
    OffCurrent "off_current" EINVAL Before off_current, "Outside VMX operation there is no current VMCS", "set the address of the current VMCS to all 1, or that of the VMXON region to where it is";
    OffFlags "off_flags" EINVAL Before off_flags, "Outside VMX operation there is no flag but EVMCS", "clear the flags, or set the address of the VMXON region";
    VmxInCpuid "vmx_in_cpuid" EINVAL Before vmx_in_cpuid, "VMX operation needs VMX in the vCPU's CPUID", "set CPUID with VMX (leaf 1, ECX bit 5) before the nested state; KVM needs kvm_intel.nested=1 for it";
    VmxonAddress "vmxon_address" EINVAL Before vmxon_address, "The VMXON region is page-aligned and within the vCPU's physical-address width", "correct the address, or give the vCPU the CPUID that it had";
    SmmGuestMode "smm_guest_mode" EINVAL Before smm_guest_mode, "L2 is active or interrupted by SMM, not both", "clear one of GUEST_MODE and the SMM flag GUEST_MODE";
    SmmFlags "smm_flags" EINVAL Before smm_flags, "There are no SMM flags but GUEST_MODE and VMXON", "clear the others";
    HeaderFlags "header_flags" EINVAL Before header_flags, "There is no header flag but PREEMPTION_TIMER_DEADLINE", "clear the others";
    InSmm "in_smm" EINVAL Before in_smm, "In SMM no L2 is active", "clear GUEST_MODE and RUN_PENDING, or take the vCPU out of SMM (KVM_SET_VCPU_EVENTS)";
    OutsideSmm "outside_smm" EINVAL Before outside_smm, "Outside SMM the SMM flags are 0", "put the vCPU into SMM first (KVM_SET_VCPU_EVENTS), or clear the SMM flags";
    SmmVmxon "smm_vmxon" EINVAL Before smm_vmxon, "L2 that SMM interrupted was in VMX operation", "set the SMM flag VMXON too";
    Evmcs "evmcs" EINVAL Before evmcs, "EVMCS needs VMX in CPUID and enlightened VMCSs enabled", "enable KVM_CAP_HYPERV_ENLIGHTENED_VMCS on the vCPU first, or clear EVMCS";
    ShortGuestMode "short_guest_mode" EINVAL Behind short_guest_mode, "A state without vmcs12 has no GUEST_MODE", "pass vmcs12 and set the size to 4224 at least";
    ShortEvmcs "short_evmcs" EINVAL Behind short_evmcs, "A state without vmcs12 has no EVMCS", "pass vmcs12 and set the size to 4224 at least";
    ShortCurrent "short_current" EINVAL Behind short_current, "A state without vmcs12 has no current VMCS", "pass vmcs12 and set the size to 4224 at least";
    SameRegion "same_region" EINVAL Behind same_region, "The current VMCS is not the VMXON region", "correct one of the addresses";
    CurrentAddress "current_address" EINVAL Behind current_address, "The current VMCS is page-aligned and within the vCPU's physical-address width", "correct the address, or give the vCPU the CPUID that it had";
    NoCurrent "no_current" EINVAL Behind no_current, "A state with vmcs12 has a current VMCS, or EVMCS", "set the address of the current VMCS, or the size to 128";
    Vmcs12Readable "vmcs12_readable" EFAULT Behind vmcs12_readable, "All of vmcs12 is there", "pass all of the state that KVM_GET_NESTED_STATE gave";
    Revision "revision" EINVAL Behind revision, "vmcs12 has KVM's revision identifier, 0x11e57ed0", "this vmcs12 is not in KVM's layout: make one from its fields";
    ShadowSize "shadow_size" EINVAL Behind shadow_size, "With VMCS shadowing and a link pointer there is a shadow vmcs12", "pass the shadow vmcs12 and set the size to 8320";
    ShadowReadable "shadow_readable" EFAULT Behind shadow_readable, "All of the shadow vmcs12 is there", "pass all of the state that KVM_GET_NESTED_STATE gave";
    ShadowHeader "shadow_header" EINVAL Behind shadow_header, "The shadow vmcs12 has KVM's revision identifier and the shadow-VMCS indicator", "set its first four bytes to 0x91e57ed0";
}
