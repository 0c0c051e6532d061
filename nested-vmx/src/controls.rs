// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The control fields of a VMCS, bit by bit. Bits without a name are reserved; those that are
//! reserved to 1 are in the capability MSRs' allowed-0 settings.

use bitflags::bitflags;

bitflags! {
    /// Pin-based VM-execution controls (SDM volume 3, section 26.6.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct PinControls: u32 {
        /// External interrupt exiting.
        const EXTERNAL_INTERRUPT_EXITING = 1 << 0;
        /// NMI exiting.
        const NMI_EXITING = 1 << 3;
        /// Virtual NMIs.
        const VIRTUAL_NMIS = 1 << 5;
        /// Preemption timer.
        const PREEMPTION_TIMER = 1 << 6;
        /// Process posted interrupts.
        const PROCESS_POSTED_INTERRUPTS = 1 << 7;
    }
}

bitflags! {
    /// Primary processor-based VM-execution controls (SDM volume 3, section 26.6.2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct PrimaryControls: u32 {
        /// Interrupt window exiting.
        const INTERRUPT_WINDOW_EXITING = 1 << 2;
        /// Use TSC offsetting.
        const USE_TSC_OFFSETTING = 1 << 3;
        /// HLT exiting.
        const HLT_EXITING = 1 << 7;
        /// INVLPG exiting.
        const INVLPG_EXITING = 1 << 9;
        /// MWAIT exiting.
        const MWAIT_EXITING = 1 << 10;
        /// RDPMC exiting.
        const RDPMC_EXITING = 1 << 11;
        /// RDTSC exiting.
        const RDTSC_EXITING = 1 << 12;
        /// CR3 load exiting.
        const CR3_LOAD_EXITING = 1 << 15;
        /// CR3 store exiting.
        const CR3_STORE_EXITING = 1 << 16;
        /// Activate tertiary controls.
        const ACTIVATE_TERTIARY_CONTROLS = 1 << 17;
        /// CR8 load exiting.
        const CR8_LOAD_EXITING = 1 << 19;
        /// CR8 store exiting.
        const CR8_STORE_EXITING = 1 << 20;
        /// Use TPR shadow.
        const USE_TPR_SHADOW = 1 << 21;
        /// NMI window exiting.
        const NMI_WINDOW_EXITING = 1 << 22;
        /// MOV DR exiting.
        const MOV_DR_EXITING = 1 << 23;
        /// Unconditional I/O exiting.
        const UNCONDITIONAL_IO_EXITING = 1 << 24;
        /// Use I/O bitmaps.
        const USE_IO_BITMAPS = 1 << 25;
        /// MONITOR trap flag.
        const MONITOR_TRAP_FLAG = 1 << 27;
        /// Use MSR bitmaps.
        const USE_MSR_BITMAPS = 1 << 28;
        /// MONITOR exiting.
        const MONITOR_EXITING = 1 << 29;
        /// PAUSE exiting.
        const PAUSE_EXITING = 1 << 30;
        /// Activate secondary controls.
        const ACTIVATE_SECONDARY_CONTROLS = 1 << 31;
    }
}

bitflags! {
    /// Secondary processor-based VM-execution controls (SDM volume 3, section 26.6.2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct SecondaryControls: u32 {
        /// Virtualize APIC accesses.
        const VIRTUALIZE_APIC_ACCESSES = 1 << 0;
        /// Enable EPT.
        const ENABLE_EPT = 1 << 1;
        /// Descriptor table exiting.
        const DESCRIPTOR_TABLE_EXITING = 1 << 2;
        /// Enable RDTSCP.
        const ENABLE_RDTSCP = 1 << 3;
        /// Virtualize x2APIC mode.
        const VIRTUALIZE_X2APIC_MODE = 1 << 4;
        /// Enable VPID.
        const ENABLE_VPID = 1 << 5;
        /// WBINVD exiting.
        const WBINVD_EXITING = 1 << 6;
        /// Unrestricted guest.
        const UNRESTRICTED_GUEST = 1 << 7;
        /// APIC register virtualization.
        const APIC_REGISTER_VIRTUALIZATION = 1 << 8;
        /// Virtual interrupt delivery.
        const VIRTUAL_INTERRUPT_DELIVERY = 1 << 9;
        /// PAUSE loop exiting.
        const PAUSE_LOOP_EXITING = 1 << 10;
        /// RDRAND exiting.
        const RDRAND_EXITING = 1 << 11;
        /// Enable INVPCID.
        const ENABLE_INVPCID = 1 << 12;
        /// Enable VM functions.
        const ENABLE_VM_FUNCTIONS = 1 << 13;
        /// VMCS shadowing.
        const VMCS_SHADOWING = 1 << 14;
        /// ENCLS exiting.
        const ENCLS_EXITING = 1 << 15;
        /// RDSEED exiting.
        const RDSEED_EXITING = 1 << 16;
        /// Enable PML.
        const ENABLE_PML = 1 << 17;
        /// EPT violation #VE.
        const EPT_VIOLATION_VE = 1 << 18;
        /// Conceal VMX from PT.
        const CONCEAL_VMX_FROM_PT = 1 << 19;
        /// Enable XSAVES.
        const ENABLE_XSAVES = 1 << 20;
        /// Mode based execute control.
        const MODE_BASED_EXECUTE_CONTROL = 1 << 22;
        /// Sub page write permissions.
        const SUB_PAGE_WRITE_PERMISSIONS = 1 << 23;
        /// PT uses guest physical addresses.
        const PT_USES_GUEST_PHYSICAL_ADDRESSES = 1 << 24;
        /// TSC scaling.
        const TSC_SCALING = 1 << 25;
        /// Enable user wait and PAUSE.
        const ENABLE_USER_WAIT_AND_PAUSE = 1 << 26;
        /// Enable PCONFIG.
        const ENABLE_PCONFIG = 1 << 27;
        /// ENCLV exiting.
        const ENCLV_EXITING = 1 << 28;
        /// Bus lock detection.
        const BUS_LOCK_DETECTION = 1 << 30;
        /// Notify VM exiting.
        const NOTIFY_VM_EXITING = 1 << 31;
    }
}

bitflags! {
    /// Tertiary processor-based VM-execution controls (SDM volume 3, section 26.6.2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct TertiaryControls: u64 {
        /// LOADIWKEY exiting.
        const LOADIWKEY_EXITING = 1 << 0;
        /// Enable HLAT.
        const ENABLE_HLAT = 1 << 1;
        /// EPT paging write control.
        const EPT_PAGING_WRITE_CONTROL = 1 << 2;
        /// Guest paging verification.
        const GUEST_PAGING_VERIFICATION = 1 << 3;
        /// IPI virtualization.
        const IPI_VIRTUALIZATION = 1 << 4;
        /// Enable MSR list.
        const ENABLE_MSR_LIST = 1 << 6;
        /// Virtualize IA32_SPEC_CTRL.
        const VIRTUALIZE_SPEC_CTRL = 1 << 7;
        /// APIC timer virtualization.
        const APIC_TIMER_VIRTUALIZATION = 1 << 8;
    }
}

bitflags! {
    /// Primary VM-exit controls (SDM volume 3, section 26.7.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct ExitControls: u32 {
        /// Save debug controls.
        const SAVE_DEBUG_CONTROLS = 1 << 2;
        /// Host address space size.
        const HOST_ADDRESS_SPACE_SIZE = 1 << 9;
        /// Load IA32_PERF_GLOBAL_CTRL.
        const LOAD_PERF_GLOBAL_CTRL = 1 << 12;
        /// Acknowledge interrupt on exit.
        const ACKNOWLEDGE_INTERRUPT_ON_EXIT = 1 << 15;
        /// Save IA32_PAT.
        const SAVE_PAT = 1 << 18;
        /// Load IA32_PAT.
        const LOAD_PAT = 1 << 19;
        /// Save IA32_EFER.
        const SAVE_EFER = 1 << 20;
        /// Load IA32_EFER.
        const LOAD_EFER = 1 << 21;
        /// Save preemption timer.
        const SAVE_PREEMPTION_TIMER = 1 << 22;
        /// Clear IA32_BNDCFGS.
        const CLEAR_BNDCFGS = 1 << 23;
        /// Conceal VMX from PT.
        const CONCEAL_VMX_FROM_PT = 1 << 24;
        /// Clear IA32_RTIT_CTL.
        const CLEAR_RTIT_CTL = 1 << 25;
        /// Clear IA32_LBR_CTL.
        const CLEAR_LBR_CTL = 1 << 26;
        /// Clear UINV.
        const CLEAR_UINV = 1 << 27;
        /// Load CET state.
        const LOAD_CET = 1 << 28;
        /// Load PKRS.
        const LOAD_PKRS = 1 << 29;
        /// Save IA32_PERF_GLOBAL_CTRL.
        const SAVE_PERF_GLOBAL_CTRL = 1 << 30;
        /// Activate secondary controls.
        const ACTIVATE_SECONDARY_CONTROLS = 1 << 31;
    }
}

bitflags! {
    /// Secondary VM-exit controls (SDM volume 3, section 26.7.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct SecondaryExitControls: u64 {
        /// Save FRED.
        const SAVE_FRED = 1 << 0;
        /// Load FRED.
        const LOAD_FRED = 1 << 1;
        /// Load IA32_SPEC_CTRL.
        const LOAD_SPEC_CTRL = 1 << 2;
        /// Prematurely busy shadow stack.
        const PREMATURELY_BUSY_SHADOW_STACK = 1 << 3;
    }
}

bitflags! {
    /// VM-entry controls (SDM volume 3, section 26.8.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct EntryControls: u32 {
        /// Load debug controls.
        const LOAD_DEBUG_CONTROLS = 1 << 2;
        /// IA-32e mode guest.
        const IA32E_MODE_GUEST = 1 << 9;
        /// Entry to SMM.
        const ENTRY_TO_SMM = 1 << 10;
        /// Deactivate dual MONITOR.
        const DEACTIVATE_DUAL_MONITOR = 1 << 11;
        /// Load IA32_PERF_GLOBAL_CTRL.
        const LOAD_PERF_GLOBAL_CTRL = 1 << 13;
        /// Load IA32_PAT.
        const LOAD_PAT = 1 << 14;
        /// Load IA32_EFER.
        const LOAD_EFER = 1 << 15;
        /// Load IA32_BNDCFGS.
        const LOAD_BNDCFGS = 1 << 16;
        /// Conceal VMX from PT.
        const CONCEAL_VMX_FROM_PT = 1 << 17;
        /// Load IA32_RTIT_CTL.
        const LOAD_RTIT_CTL = 1 << 18;
        /// Load UINV.
        const LOAD_UINV = 1 << 19;
        /// Load CET state.
        const LOAD_CET = 1 << 20;
        /// Load IA32_LBR_CTL.
        const LOAD_LBR_CTL = 1 << 21;
        /// Load PKRS.
        const LOAD_PKRS = 1 << 22;
        /// Load FRED.
        const LOAD_FRED = 1 << 23;
        /// Load IA32_SPEC_CTRL.
        const LOAD_SPEC_CTRL = 1 << 24;
    }
}

/// A type of control bits, for code that is the same for all of them.
pub trait Controls: Copy {
    /// The control's bits, zero-extended.
    fn value(self) -> u64;
}

macro_rules! controls {
    ($($type:ident)*) => {
        $(
            impl Controls for $type {
                fn value(self) -> u64 {
                    self.bits().into()
                }
            }
        )*
    };
}

controls! {
    PinControls PrimaryControls SecondaryControls TertiaryControls
    ExitControls SecondaryExitControls EntryControls
}
