// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which rules of VM entry KVM checks when a nested state with an active L2 is set, and which are
//! left to the processor, at the next entry to L2.

use crate::check::Rule;

/// Who checks a rule of VM entry for an L2 that KVM_SET_NESTED_STATE makes active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CheckedBy {
    /// KVM, when the state is set, in this function of `arch/x86/kvm/vmx/nested.c`.
    Kvm(&'static str),
    /// The processor, when L2 is entered next: then L2 exits to L1 with a failed entry that L1 never
    /// asked for.
    Processor,
    /// Nobody: it is about what L1's instruction does once, or about what KVM does otherwise.
    Nobody,
}

const EXECUTION: CheckedBy = CheckedBy::Kvm("nested_check_vm_execution_controls");
const EXIT: CheckedBy = CheckedBy::Kvm("nested_check_vm_exit_controls");
const ENTRY: CheckedBy = CheckedBy::Kvm("nested_check_vm_entry_controls");
const HOST: CheckedBy = CheckedBy::Kvm("nested_vmx_check_host_state");
const GUEST: CheckedBy = CheckedBy::Kvm("nested_vmx_check_guest_state");
const LINK: CheckedBy = CheckedBy::Kvm("nested_vmx_check_vmcs_link_ptr");

impl Rule {
    /// Who checks this rule when KVM_SET_NESTED_STATE makes an L2 active.
    pub const fn checked_by(self) -> CheckedBy {
        match self {
            Self::CurrentVmcs
            | Self::NotShadow
            | Self::MovSs
            | Self::LaunchClear
            | Self::ResumeLaunched => CheckedBy::Nobody,

            Self::PinAllowed
            | Self::PrimaryAllowed
            | Self::SecondaryAllowed
            | Self::Cr3Targets
            | Self::IoBitmaps
            | Self::MsrBitmap
            | Self::VirtualApicPage
            | Self::ApicNeedsTprShadow
            | Self::VirtualNmis
            | Self::NmiWindow
            | Self::ApicAccess
            | Self::X2apicExcludesApicAccess
            | Self::VirtualInterruptDelivery
            | Self::PostedNeedDelivery
            | Self::PostedNeedAcknowledge
            | Self::PostedVector
            | Self::PostedDescriptor
            | Self::Vpid
            | Self::VmFunctions
            | Self::EptpSwitching
            | Self::SaveTimer => EXECUTION,
            Self::EptpMemoryType
            | Self::EptpWalk
            | Self::EptpAccessedDirty
            | Self::EptpReserved => CheckedBy::Kvm("nested_vmx_check_eptp"),
            Self::Pml => CheckedBy::Kvm("nested_vmx_check_pml_controls"),
            Self::UnrestrictedGuest => {
                CheckedBy::Kvm("nested_vmx_check_unrestricted_guest_controls")
            }
            Self::ModeBasedExecute => {
                CheckedBy::Kvm("nested_vmx_check_mode_based_ept_exec_controls")
            }
            Self::ShadowBitmaps => CheckedBy::Kvm("nested_vmx_check_shadow_vmcs_controls"),

            Self::ExitAllowed | Self::ExitStoreList | Self::ExitLoadList => EXIT,
            // Only when L1's areas are used.
            Self::ListMax | Self::MsrLoad => CheckedBy::Nobody,

            Self::EntryAllowed
            | Self::InjectedType
            | Self::InjectedOther
            | Self::InjectedNmi
            | Self::InjectedException
            | Self::InjectedOtherVector
            | Self::InjectedErrorCodeMode
            | Self::InjectedErrorCodeVector
            | Self::InjectedReserved
            | Self::InjectedErrorCodeHigh
            | Self::InjectedLength
            | Self::EntryLoadList
            | Self::EntrySmm => ENTRY,

            Self::HostCr0
            | Self::HostCr4
            | Self::HostCetWp
            | Self::HostCr3
            | Self::HostSysenter
            | Self::HostPat
            | Self::HostPerfGlobalCtrl
            | Self::HostEfer
            | Self::HostCet
            | Self::HostSelectorRpl
            | Self::HostCsTr
            | Self::HostSs
            | Self::HostBases
            | Self::HostSize0
            | Self::HostSize1 => HOST,
            // L1's mode is looked at when L1 executes VMLAUNCH; KVM loads the other MSRs itself.
            Self::HostSizeLma
            | Self::Ia32eLma
            | Self::HostPkrs
            | Self::HostFred
            | Self::HostSpecCtrl => CheckedBy::Nobody,

            Self::GuestCr0
            | Self::GuestPaging
            | Self::GuestCr4
            | Self::GuestCetWp
            | Self::GuestDebugctl
            | Self::GuestIa32e
            | Self::GuestPerfGlobalCtrl
            | Self::GuestPat
            // Only with a pending entry: otherwise KVM does not use the field.
            | Self::GuestEfer
            | Self::GuestBndcfgs
            | Self::GuestCet => GUEST,
            Self::ActivitySupported => CheckedBy::Kvm("nested_check_guest_non_reg_state"),
            Self::LinkAlignment | Self::LinkRevision => LINK,
            Self::GuestCr3 => CheckedBy::Kvm("nested_vmx_load_cr3"),
            // L2's link pointer is not given to the processor.
            Self::LinkCurrent => CheckedBy::Nobody,

            _ => CheckedBy::Processor,
        }
    }
}
