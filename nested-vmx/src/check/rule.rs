// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The rules of VM entry, one line each, in the order in which they are checked.

use super::context::Context;
use super::failure::Violation;
use super::failures::RuleSet;
use super::rules::{
    basic, entry_controls, execution_controls, exit_controls, guest_fred, guest_non_register,
    guest_registers, guest_rip_and_flags, guest_segments, host, injection, msr_load, pdptes,
    tables,
};

/// When a rule is checked (SDM volume 3, section 28.1 and following). A VM entry goes through the
/// phases in this order; controls and host state may be checked in either order, here they are in
/// this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Before the VMCS is looked at.
    Basic,
    /// VM-execution, VM-exit and VM-entry control fields: VMfailValid 7.
    Controls,
    /// The host-state area: VMfailValid 8.
    Host,
    /// The guest-state area: a VM exit, reason 33.
    Guest,
    /// The VM-entry MSR-load area: a VM exit, reason 34.
    MsrLoad,
}

macro_rules! rules {
    ($($(#[$mark:meta])* $variant:ident $id:literal $phase:ident $section:literal $check:path, $text:literal;)*) => {
        /// A rule that a VM entry checks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Rule {
            $(
                #[doc = concat!($text, " (SDM volume 3, section ", $section, ").")]
                $variant,
            )*
        }

        impl Rule {
            /// All rules, in the order in which they are checked.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// A short name that stays: `g_cr0`.
            pub const fn id(self) -> &'static str {
                match self {
                    $(Self::$variant => $id,)*
                }
            }

            /// The rule with this short name.
            pub fn from_id(id: &str) -> Option<Self> {
                match id {
                    $($id => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// When it is checked.
            pub const fn phase(self) -> Phase {
                match self {
                    $(Self::$variant => Phase::$phase,)*
                }
            }

            /// The section of the SDM's volume 3 that has it.
            pub const fn section(self) -> &'static str {
                match self {
                    $(Self::$variant => $section,)*
                }
            }

            /// What it asks for, as a sentence without a full stop.
            pub const fn requirement(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            /// The first rule that is broken, and by what. Unrolled, so that each condition is
            /// compiled with its own fields and offsets.
            pub(super) fn first(context: &Context<'_>) -> Option<(Self, Violation)> {
                $(
                    if let Some(violation) = $check(context) {
                        return Some((Self::$variant, violation));
                    }
                )*
                None
            }

            /// All rules that are broken.
            pub(super) fn all(context: &Context<'_>) -> RuleSet {
                let mut broken = RuleSet::EMPTY;
                $(
                    if $check(context).is_some() {
                        broken.insert(Self::$variant);
                    }
                )*
                broken
            }

            pub(super) fn check(self, context: &Context<'_>) -> Option<Violation> {
                match self {
                    $(Self::$variant => $check(context),)*
                }
            }
        }
    };
}

rules! {
    CurrentVmcs "cur_vmcs" Basic "28.1" basic::current_vmcs, "There is a current VMCS";
    NotShadow "not_shadow" Basic "28.1" basic::not_shadow, "The current VMCS is not a shadow VMCS";
    MovSs "mov_ss" Basic "28.1" basic::mov_ss, "Events are not blocked by MOV SS";
    LaunchClear "launch_clear" Basic "28.1" basic::launch_clear, "VMLAUNCH takes a VMCS whose launch state is clear";
    ResumeLaunched "resume_launched" Basic "28.1" basic::resume_launched, "VMRESUME takes a VMCS whose launch state is launched";

    PinAllowed "pin_allowed" Controls "28.2.1.1" execution_controls::pin_allowed, "Pin-based controls are as IA32_VMX_PINBASED_CTLS allows";
    PrimaryAllowed "proc_allowed" Controls "28.2.1.1" execution_controls::primary_allowed, "Primary processor-based controls are as IA32_VMX_PROCBASED_CTLS allows";
    SecondaryAllowed "sec_allowed" Controls "28.2.1.1" execution_controls::secondary_allowed, "Secondary processor-based controls are as IA32_VMX_PROCBASED_CTLS2 allows";
    TertiaryAllowed "ter_allowed" Controls "28.2.1.1" execution_controls::tertiary_allowed, "Tertiary processor-based controls are as IA32_VMX_PROCBASED_CTLS3 allows";
    Cr3Targets "cr3_targets" Controls "28.2.1.1" execution_controls::cr3_targets, "There are no more CR3-target values than IA32_VMX_MISC counts";
    IoBitmaps "io_bitmaps" Controls "28.2.1.1" execution_controls::io_bitmaps, "I/O bitmaps are page-aligned and within the physical-address width";
    MsrBitmap "msr_bitmap" Controls "28.2.1.1" execution_controls::msr_bitmap, "The MSR bitmap is page-aligned and within the physical-address width";
    VirtualApicPage "vapic_page" Controls "28.2.1.1" execution_controls::virtual_apic_page, "The virtual-APIC page is page-aligned and within the physical-address width";
    TprThresholdReserved "tpr_thr_rsvd" Controls "28.2.1.1" execution_controls::tpr_threshold_reserved, "Bits 31:4 of the TPR threshold are 0 without virtual-interrupt delivery";
    TprThresholdVtpr "tpr_thr_vtpr" Controls "28.2.1.1" execution_controls::tpr_threshold_vtpr, "The TPR threshold is not above bits 7:4 of the virtual TPR";
    ApicNeedsTprShadow "x2apic_etc_need_tpr" Controls "28.2.1.1" execution_controls::apic_needs_tpr_shadow, "Virtualized x2APIC mode, APIC-register virtualization, virtual-interrupt delivery and IPI virtualization need the TPR shadow";
    VirtualNmis "nmi_vnmi" Controls "28.2.1.1" execution_controls::virtual_nmis, "Virtual NMIs need NMI exiting";
    NmiWindow "vnmi_window" Controls "28.2.1.1" execution_controls::nmi_window, "NMI-window exiting needs virtual NMIs";
    ApicAccess "apic_access" Controls "28.2.1.1" execution_controls::apic_access, "The APIC-access page is page-aligned and within the physical-address width";
    X2apicExcludesApicAccess "x2apic_vs_vaa" Controls "28.2.1.1" execution_controls::x2apic_excludes_apic_access, "Virtualized x2APIC mode and virtualized APIC accesses exclude each other";
    VirtualInterruptDelivery "vid_extint" Controls "28.2.1.1" execution_controls::virtual_interrupt_delivery, "Virtual-interrupt delivery needs external-interrupt exiting";
    PostedNeedDelivery "pi_vid" Controls "28.2.1.1" execution_controls::posted_need_delivery, "Posted interrupts need virtual-interrupt delivery";
    PostedNeedAcknowledge "pi_ack" Controls "28.2.1.1" execution_controls::posted_need_acknowledge, "Posted interrupts need interrupts to be acknowledged on exit";
    PostedVector "pi_nv" Controls "28.2.1.1" execution_controls::posted_vector, "The posted-interrupt notification vector is below 256";
    PostedDescriptor "pi_desc" Controls "28.2.1.1" execution_controls::posted_descriptor, "The posted-interrupt descriptor is aligned to 64 bytes and within the physical-address width";
    Vpid "vpid" Controls "28.2.1.1" execution_controls::vpid, "The virtual-processor identifier is not 0";
    EptpMemoryType "eptp_mt" Controls "28.2.1.1" execution_controls::eptp_memory_type, "The EPT memory type is one that IA32_VMX_EPT_VPID_CAP has";
    EptpWalk "eptp_walk" Controls "28.2.1.1" execution_controls::eptp_walk, "The EPT page-walk length is one that IA32_VMX_EPT_VPID_CAP has";
    EptpAccessedDirty "eptp_ad" Controls "28.2.1.1" execution_controls::eptp_accessed_dirty, "Accessed and dirty flags for EPT are enabled only where they are supported";
    EptpReserved "eptp_rsvd" Controls "28.2.1.1" execution_controls::eptp_reserved, "Reserved bits of the EPT pointer are 0";
    Pml "pml" Controls "28.2.1.1" execution_controls::pml, "Page-modification logging needs EPT and a page-aligned log within the physical-address width";
    UnrestrictedGuest "urg" Controls "28.2.1.1" execution_controls::unrestricted_guest, "An unrestricted guest needs EPT";
    ModeBasedExecute "mbec" Controls "28.2.1.1" execution_controls::mode_based_execute, "Mode-based execute control for EPT needs EPT";
    SubPage "spp" Controls "28.2.1.1" execution_controls::sub_page, "Sub-page write permissions need EPT and a page-aligned table within the physical-address width";
    VmFunctions "vmfunc_bits" Controls "28.2.1.1" execution_controls::vm_functions, "VM-function controls are as IA32_VMX_VMFUNC allows";
    EptpSwitching "eptp_switch" Controls "28.2.1.1" execution_controls::eptp_switching, "EPTP switching needs EPT and a page-aligned list within the physical-address width";
    ShadowBitmaps "shadow_bitmaps" Controls "28.2.1.1" execution_controls::shadow_bitmaps, "VMREAD and VMWRITE bitmaps are page-aligned and within the physical-address width";
    VeInformation "ve_info" Controls "28.2.1.1" execution_controls::ve_information, "The virtualization-exception information is page-aligned and within the physical-address width";
    TscMultiplier "tsc_mult" Controls "28.2.1.1" execution_controls::tsc_multiplier, "The TSC multiplier is not 0";
    PtGuestPhysical "pt_gpa" Controls "28.2.1.1" execution_controls::pt_guest_physical, "Intel PT with guest-physical addresses needs EPT, and IA32_RTIT_CTL loaded on entry and cleared on exit";
    Hlat "hlat" Controls "28.2.1.1" execution_controls::hlat, "HLAT paging needs EPT and an HLAT pointer without reserved bits";
    PagingVerification "ept_paging" Controls "28.2.1.1" execution_controls::paging_verification, "EPT paging-write control and guest-paging verification need EPT";
    IpiVirtualization "ipi_virt" Controls "28.2.1.1" execution_controls::ipi_virtualization, "IPI virtualization needs a PID-pointer table that is aligned to 8 bytes and within the physical-address width";
    TimerVirtualization "timer_virt" Controls "28.2.1.1" execution_controls::timer_virtualization, "APIC-timer virtualization needs virtual-interrupt delivery and a virtual vector below 256";
    ExitAllowed "exit_allowed" Controls "28.2.1.2" exit_controls::allowed, "VM-exit controls are as IA32_VMX_EXIT_CTLS allows";
    SecondaryExitAllowed "exit2_allowed" Controls "28.2.1.2" exit_controls::secondary_allowed, "Secondary VM-exit controls are as IA32_VMX_EXIT_CTLS2 allows";
    SaveTimer "save_timer" Controls "28.2.1.2" exit_controls::save_timer, "The preemption timer is saved only where it is active";
    ExitStoreList "exit_store_list" Controls "28.2.1.2" exit_controls::store_list, "The VM-exit MSR-store area is aligned to 16 bytes and within the physical-address width";
    ExitLoadList "exit_load_list" Controls "28.2.1.2" exit_controls::load_list, "The VM-exit MSR-load area is aligned to 16 bytes and within the physical-address width";
    ListMax "list_max" Controls "28.2.1.2" exit_controls::list_max, "MSR areas have no more entries than IA32_VMX_MISC recommends";
    EntryAllowed "entry_allowed" Controls "28.2.1.3" entry_controls::allowed, "VM-entry controls are as IA32_VMX_ENTRY_CTLS allows";
    InjectedType "inj_type_rsvd" Controls "28.2.1.3" injection::kind, "The type of the injected event is not the reserved one";
    InjectedOther "inj_type_other" Controls "28.2.1.3" injection::other, "A pending MTF VM exit is injected only where the monitor trap flag is supported";
    InjectedNmi "inj_vec_nmi" Controls "28.2.1.3" injection::nmi_vector, "The vector of an injected NMI is 2";
    InjectedException "inj_vec_hw" Controls "28.2.1.3" injection::exception_vector, "The vector of an injected hardware exception is at most 31";
    InjectedOtherVector "inj_vec_other" Controls "28.2.1.3" injection::other_vector, "The vector of an injected other event is 0, or with FRED 1 or 2";
    InjectedErrorCodeMode "inj_ec_mode" Controls "28.2.1.3" injection::error_code_mode, "An error code is delivered only with a hardware exception in protected mode";
    InjectedErrorCodeVector "inj_ec_vec" Controls "28.2.1.3" injection::error_code_vector, "An error code is delivered with those vectors that have one, and no others";
    InjectedReserved "inj_rsvd" Controls "28.2.1.3" injection::reserved, "Reserved bits of the VM-entry interruption information are 0";
    InjectedErrorCodeHigh "inj_ec_high" Controls "28.2.1.3" injection::error_code_high, "Bits 31:16 of the error code are 0";
    InjectedLength "inj_len" Controls "28.2.1.3" injection::length, "The instruction length of an injected event that an instruction causes is 1 to 15, or 0 where that is allowed";
    EntryLoadList "entry_load_list" Controls "28.2.1.3" entry_controls::load_list, "The VM-entry MSR-load area is aligned to 16 bytes and within the physical-address width";
    EntrySmm "entry_smm" Controls "28.2.1.3" entry_controls::smm, "Outside SMM there is no entry to SMM and no deactivation of dual-monitor treatment";

    HostCr0 "host_cr0" Host "28.2.2" host::cr0, "Host CR0 has the bits that IA32_VMX_CR0_FIXED0 and IA32_VMX_CR0_FIXED1 ask for";
    HostCr4 "host_cr4" Host "28.2.2" host::cr4, "Host CR4 has the bits that IA32_VMX_CR4_FIXED0 and IA32_VMX_CR4_FIXED1 ask for";
    HostCetWp "host_cet_wp" Host "28.2.2" host::cet_wp, "Host CR4.CET needs CR0.WP";
    HostCr3 "host_cr3" Host "28.2.2" host::cr3, "Host CR3 is within the physical-address width";
    HostSysenter "host_sysenter" Host "28.2.2" host::sysenter, "Host IA32_SYSENTER_ESP and IA32_SYSENTER_EIP are canonical";
    HostPat "host_pat" Host "28.2.2" host::pat, "Each byte of host IA32_PAT is a memory type";
    HostPerfGlobalCtrl "host_pgc" Host "28.2.2" host::perf_global_ctrl, "Reserved bits of host IA32_PERF_GLOBAL_CTRL are 0";
    HostEfer "host_efer" Host "28.2.2" host::efer, "Host IA32_EFER has no reserved bits, and LMA and LME as the host address-space size";
    HostCet "host_cet" Host "28.2.2" host::cet, "Host CET state has no reserved bits and canonical addresses";
    HostPkrs "host_pkrs" Host "28.2.2" host::pkrs, "Bits 63:32 of host IA32_PKRS are 0";
    HostFred "host_fred" Host "28.2.2" host::fred, "Host FRED state has no reserved bits and canonical addresses";
    HostSpecCtrl "host_spec_ctrl" Host "28.2.2" host::spec_ctrl, "Reserved bits of host IA32_SPEC_CTRL are 0";
    HostSelectorRpl "host_sel_rpl" Host "28.2.3" host::selector_rpl, "RPL and TI of host selectors are 0";
    HostCsTr "host_cs_tr" Host "28.2.3" host::cs_tr, "Host CS and TR are not null";
    HostSs "host_ss" Host "28.2.3" host::ss, "Host SS of a 32-bit host is not null";
    HostBases "host_bases" Host "28.2.3" host::bases, "Base addresses of host FS, GS, TR, GDTR and IDTR are canonical";
    HostSizeLma "has_lma" Host "28.2.4" host::size_lma, "The host address-space size is that of the mode in which the instruction is executed";
    HostSize0 "has0_guest" Host "28.2.4" host::size_0, "A 32-bit host has no IA-32e mode guest, neither CR4.PCIDE nor CR4.FRED, and RIP below 4 GiB";
    HostSize1 "has1" Host "28.2.4" host::size_1, "A 64-bit host has CR4.PAE and a canonical RIP";
    Ia32eLma "ia32e_lma0" Host "28.2.4" host::ia32e_lma, "Outside IA-32e mode there is neither a 64-bit host nor an IA-32e mode guest";

    GuestCr0 "g_cr0" Guest "28.3.1.1" guest_registers::cr0, "Guest CR0 has the bits that IA32_VMX_CR0_FIXED0 and IA32_VMX_CR0_FIXED1 ask for";
    GuestPaging "g_pg_pe" Guest "28.3.1.1" guest_registers::paging, "Guest CR0.PG needs CR0.PE";
    GuestCr4 "g_cr4" Guest "28.3.1.1" guest_registers::cr4, "Guest CR4 has the bits that IA32_VMX_CR4_FIXED0 and IA32_VMX_CR4_FIXED1 ask for";
    GuestCetWp "g_cet_wp" Guest "28.3.1.1" guest_registers::cet_wp, "Guest CR4.CET needs CR0.WP";
    GuestDebugctl "g_debugctl" Guest "28.3.1.1" guest_registers::debugctl, "Reserved bits of guest IA32_DEBUGCTL and bits 63:32 of DR7 are 0";
    GuestIa32e "g_ia32e" Guest "28.3.1.1" guest_registers::ia32e, "An IA-32e mode guest has CR0.PG and CR4.PAE";
    GuestPcide "g_pcide" Guest "28.3.1.1" guest_registers::pcide, "Guest CR4.PCIDE needs IA-32e mode";
    GuestCr3 "g_cr3" Guest "28.3.1.1" guest_registers::cr3, "Guest CR3 is within the physical-address width";
    GuestSysenter "g_sysenter" Guest "28.3.1.1" guest_registers::sysenter, "Guest IA32_SYSENTER_ESP and IA32_SYSENTER_EIP are canonical";
    GuestPerfGlobalCtrl "g_pgc" Guest "28.3.1.1" guest_registers::perf_global_ctrl, "Reserved bits of guest IA32_PERF_GLOBAL_CTRL are 0";
    GuestPat "g_pat" Guest "28.3.1.1" guest_registers::pat, "Each byte of guest IA32_PAT is a memory type";
    GuestEfer "g_efer" Guest "28.3.1.1" guest_registers::efer, "Guest IA32_EFER has no reserved bits, LMA as the control IA-32e mode guest, and with paging LME like LMA";
    GuestBndcfgs "g_bndcfgs" Guest "28.3.1.1" guest_registers::bndcfgs, "Reserved bits of guest IA32_BNDCFGS are 0 and its base is canonical";
    GuestCet "g_cet" Guest "28.3.1.1" guest_registers::cet, "Guest CET state has no reserved bits and canonical addresses";
    GuestRtitCtl "g_rtit" Guest "28.3.1.1" guest_registers::rtit_ctl, "Reserved bits of guest IA32_RTIT_CTL are 0";
    GuestLbrCtl "g_lbr" Guest "28.3.1.1" guest_registers::lbr_ctl, "Reserved bits of guest IA32_LBR_CTL are 0";
    GuestPkrs "g_pkrs" Guest "28.3.1.1" guest_registers::pkrs, "Bits 63:32 of guest IA32_PKRS are 0";
    GuestUinv "g_uinv" Guest "28.3.1.1" guest_registers::uinv, "Bits 15:8 of guest UINV are 0";
    GuestFred "g_fred" Guest "28.3.1.1" guest_fred::state, "Guest FRED state has no reserved bits and canonical addresses, and CR4.FRED needs IA-32e mode";
    GuestFredPrivilege "g_fred_cpl" Guest "28.3.1.2" guest_fred::privilege, "With guest CR4.FRED, there is 64-bit code at privilege level 0, or level 3 without IOPL and blocking by STI";
    GuestSpecCtrl "g_spec_ctrl" Guest "28.3.1.1" guest_registers::spec_ctrl, "Reserved bits of guest IA32_SPEC_CTRL are 0";
    TrTi "g_tr_ti" Guest "28.3.1.2" guest_segments::tr_ti, "TI of guest TR is 0";
    LdtrTi "g_ldtr_ti" Guest "28.3.1.2" guest_segments::ldtr_ti, "TI of a usable guest LDTR is 0";
    SsRpl "g_ss_rpl" Guest "28.3.1.2" guest_segments::ss_rpl, "RPL of guest SS is that of CS";
    Virtual8086Base "g_v86_base" Guest "28.3.1.2" guest_segments::virtual_8086_base, "In virtual-8086 mode a base is the selector times 16";
    Virtual8086Limit "g_v86_lim" Guest "28.3.1.2" guest_segments::virtual_8086_limit, "In virtual-8086 mode limits are 0xffff";
    Virtual8086Rights "g_v86_ar" Guest "28.3.1.2" guest_segments::virtual_8086_rights, "In virtual-8086 mode access rights are 0xf3";
    BaseCanonical "g_base_canon" Guest "28.3.1.2" guest_segments::base_canonical, "Bases of guest TR, FS, GS and of a usable LDTR are canonical";
    BaseHigh "g_base_hi" Guest "28.3.1.2" guest_segments::base_high, "Bits 63:32 of the bases of guest CS and of usable SS, DS and ES are 0";
    CsType "g_cs_type" Guest "28.3.1.2" guest_segments::cs_type, "Guest CS is accessed code, or accessed writable data for an unrestricted guest";
    SsType "g_ss_type" Guest "28.3.1.2" guest_segments::ss_type, "A usable guest SS is accessed writable data";
    DataType "g_data_type" Guest "28.3.1.2" guest_segments::data_type, "Usable guest DS, ES, FS and GS are accessed, and readable if code";
    SBit "g_s_bit" Guest "28.3.1.2" guest_segments::s_bit, "Guest CS and usable data segments are code or data descriptors";
    CsDpl "g_cs_dpl" Guest "28.3.1.2" guest_segments::cs_dpl, "DPL of guest CS fits its type and DPL of SS";
    SsDpl "g_ss_dpl" Guest "28.3.1.2" guest_segments::ss_dpl, "DPL of guest SS is its RPL, and 0 in real mode";
    DataDpl "g_data_dpl" Guest "28.3.1.2" guest_segments::data_dpl, "DPL of a usable guest data segment is not below its RPL";
    PBit "g_p_bit" Guest "28.3.1.2" guest_segments::p_bit, "Guest CS and usable data segments are present";
    RightsReserved "g_ar_rsvd" Guest "28.3.1.2" guest_segments::rights_reserved, "Reserved bits of access rights of guest CS and of usable data segments are 0";
    CsDbL "g_cs_db_l" Guest "28.3.1.2" guest_segments::cs_db_l, "64-bit code has D/B clear";
    Granularity "g_gran" Guest "28.3.1.2" guest_segments::granularity, "G of guest CS and of usable data segments fits the limit";
    Tr "g_tr" Guest "28.3.1.2" guest_segments::tr, "Guest TR is a usable, present, busy TSS";
    Ldtr "g_ldtr" Guest "28.3.1.2" guest_segments::ldtr, "A usable guest LDTR is a present LDT";
    TableBase "g_dt_base" Guest "28.3.1.3" tables::base, "Bases of guest GDTR and IDTR are canonical";
    TableLimit "g_dt_lim" Guest "28.3.1.3" tables::limit, "Bits 31:16 of the limits of guest GDTR and IDTR are 0";
    Rip "g_rip" Guest "28.3.1.4" guest_rip_and_flags::rip, "Guest RIP fits the mode";
    Rflags "g_rflags" Guest "28.3.1.4" guest_rip_and_flags::reserved, "Reserved bits of guest RFLAGS are 0, and bit 1 is 1";
    RflagsVm "g_rflags_vm" Guest "28.3.1.4" guest_rip_and_flags::virtual_8086, "Guest RFLAGS.VM needs protected mode outside IA-32e mode";
    RflagsIf "g_rflags_if" Guest "28.3.1.4" guest_rip_and_flags::interrupts, "An external interrupt is injected only with guest RFLAGS.IF";
    ActivitySupported "g_act_sup" Guest "28.3.1.5" guest_non_register::activity_supported, "The activity state is one that IA32_VMX_MISC has";
    ActivityHlt "g_act_hlt" Guest "28.3.1.5" guest_non_register::activity_hlt, "A halted guest is at privilege level 0";
    ActivityBlocking "g_act_block" Guest "28.3.1.5" guest_non_register::activity_blocking, "With blocking by STI or MOV SS the guest is active";
    ActivityInjection "g_act_inj" Guest "28.3.1.5" guest_non_register::activity_injection, "The injected event is one that the activity state takes";
    ActivitySmm "g_act_smm" Guest "28.3.1.5" guest_non_register::activity_smm, "An entry to SMM is not to the wait-for-SIPI state";
    InterruptibilityReserved "g_int_rsvd" Guest "28.3.1.5" guest_non_register::reserved, "Reserved bits of the interruptibility state are 0";
    InterruptibilityBoth "g_int_both" Guest "28.3.1.5" guest_non_register::both, "Blocking by STI and by MOV SS exclude each other";
    InterruptibilitySti "g_int_sti_if" Guest "28.3.1.5" guest_non_register::sti, "Blocking by STI needs guest RFLAGS.IF";
    InterruptibilityInterrupt "g_int_extint" Guest "28.3.1.5" guest_non_register::interrupt, "An external interrupt is injected only without blocking by STI and MOV SS";
    InterruptibilityNmi "g_int_nmi" Guest "28.3.1.5" guest_non_register::nmi, "An NMI is injected only without blocking by STI and MOV SS";
    InterruptibilitySmi "g_int_smi" Guest "28.3.1.5" guest_non_register::smi, "Blocking by SMI is as the processor's and the guest's SMM ask for";
    InterruptibilityVirtualNmi "g_int_vnmi" Guest "28.3.1.5" guest_non_register::virtual_nmi, "With virtual NMIs, an NMI is injected only without blocking by NMI";
    InterruptibilityEnclave "g_int_encl" Guest "28.3.1.5" guest_non_register::enclave, "An enclave interruption needs SGX and no blocking by MOV SS";
    PendingDebugReserved "g_pdbg_rsvd" Guest "28.3.1.5" guest_non_register::pending_debug_reserved, "Reserved bits of the pending debug exceptions are 0";
    PendingDebugBs "g_pdbg_bs" Guest "28.3.1.5" guest_non_register::pending_debug_bs, "With events blocked or the guest halted, a single step is pending exactly if RFLAGS.TF asks for it";
    PendingDebugRtm "g_pdbg_rtm" Guest "28.3.1.5" guest_non_register::pending_debug_rtm, "A debug exception of a transactional region needs RTM and has no other bits";
    LinkAlignment "g_link_align" Guest "28.3.1.5" guest_non_register::link_alignment, "The VMCS link pointer is page-aligned and within the physical-address width";
    LinkRevision "g_link_rev" Guest "28.3.1.5" guest_non_register::link_revision, "The linked VMCS has this processor's revision, and is a shadow VMCS exactly with VMCS shadowing";
    LinkCurrent "g_link_cur" Guest "28.3.1.5" guest_non_register::link_current, "The VMCS link pointer is not the current VMCS";
    Pdptes "g_pdpte" Guest "28.3.1.6" pdptes::pdptes, "Reserved bits of present PDPTEs are 0";

    MsrLoad "ml_entry" MsrLoad "28.4" msr_load::entries, "Each entry of the VM-entry MSR-load area names an MSR that can be loaded with its value";
}
