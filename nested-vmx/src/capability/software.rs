// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What an L0 that is all software can offer with this crate.

use super::default1::Pair;
use super::{
    Basic, BasicFeatures, Capabilities, EptVpid, FeatureControl, Features, Misc, MiscFeatures,
    Processor,
};
use crate::controls::{
    EntryControls, ExitControls, PinControls, PrimaryControls, SecondaryControls,
};
use crate::registers::{cr0, cr4};
use crate::vmcs::{KVM_REVISION, REGION_SIZE};

/// Write-back, as IA32_VMX_BASIC names memory types.
const WRITE_BACK: u64 = 6;

/// Bits of CR4 that every processor with VMX and paging has had for long: bits 0 to 10, UMIP, VMXE,
/// FSGSBASE, OSXSAVE, SMEP, SMAP and PKE.
const CR4: u64 = 0x7ff | 1 << 11 | cr4::VMXE | 1 << 16 | 1 << 18 | 1 << 20 | 1 << 21 | 1 << 22;

/// Primary controls for which there is no hardware in this model.
const NO_PRIMARY: PrimaryControls = PrimaryControls::ACTIVATE_TERTIARY_CONTROLS;

const SECONDARY: SecondaryControls = SecondaryControls::VIRTUALIZE_APIC_ACCESSES
    .union(SecondaryControls::ENABLE_EPT)
    .union(SecondaryControls::DESCRIPTOR_TABLE_EXITING)
    .union(SecondaryControls::ENABLE_RDTSCP)
    .union(SecondaryControls::VIRTUALIZE_X2APIC_MODE)
    .union(SecondaryControls::ENABLE_VPID)
    .union(SecondaryControls::WBINVD_EXITING)
    .union(SecondaryControls::UNRESTRICTED_GUEST)
    .union(SecondaryControls::APIC_REGISTER_VIRTUALIZATION)
    .union(SecondaryControls::VIRTUAL_INTERRUPT_DELIVERY)
    .union(SecondaryControls::PAUSE_LOOP_EXITING)
    .union(SecondaryControls::RDRAND_EXITING)
    .union(SecondaryControls::ENABLE_INVPCID)
    .union(SecondaryControls::ENABLE_VM_FUNCTIONS)
    .union(SecondaryControls::VMCS_SHADOWING)
    .union(SecondaryControls::RDSEED_EXITING)
    .union(SecondaryControls::ENABLE_PML)
    .union(SecondaryControls::ENABLE_XSAVES)
    .union(SecondaryControls::MODE_BASED_EXECUTE_CONTROL)
    .union(SecondaryControls::TSC_SCALING)
    .union(SecondaryControls::ENABLE_USER_WAIT_AND_PAUSE);

const EXIT: ExitControls = ExitControls::SAVE_DEBUG_CONTROLS
    .union(ExitControls::HOST_ADDRESS_SPACE_SIZE)
    .union(ExitControls::ACKNOWLEDGE_INTERRUPT_ON_EXIT)
    .union(ExitControls::SAVE_PAT)
    .union(ExitControls::LOAD_PAT)
    .union(ExitControls::SAVE_EFER)
    .union(ExitControls::LOAD_EFER)
    .union(ExitControls::SAVE_PREEMPTION_TIMER);

const ENTRY: EntryControls = EntryControls::LOAD_DEBUG_CONTROLS
    .union(EntryControls::IA32E_MODE_GUEST)
    .union(EntryControls::LOAD_PAT)
    .union(EntryControls::LOAD_EFER);

const EPT_VPID: EptVpid = EptVpid::EXECUTE_ONLY
    .union(EptVpid::WALK_4)
    .union(EptVpid::UC)
    .union(EptVpid::WB)
    .union(EptVpid::PAGE_2M)
    .union(EptVpid::PAGE_1G)
    .union(EptVpid::INVEPT)
    .union(EptVpid::ACCESSED_DIRTY)
    .union(EptVpid::INVEPT_SINGLE)
    .union(EptVpid::INVEPT_ALL)
    .union(EptVpid::INVVPID)
    .union(EptVpid::INVVPID_ADDRESS)
    .union(EptVpid::INVVPID_SINGLE)
    .union(EptVpid::INVVPID_ALL)
    .union(EptVpid::INVVPID_SINGLE_RETAINING_GLOBALS);

const MISC: MiscFeatures = MiscFeatures::SAVE_EFER_LMA
    .union(MiscFeatures::HLT)
    .union(MiscFeatures::SHUTDOWN)
    .union(MiscFeatures::WAIT_FOR_SIPI)
    .union(MiscFeatures::WRITE_ANY_FIELD)
    .union(MiscFeatures::ZERO_LENGTH_INJECTION);

/// CR3-target values.
const CR3_TARGETS: u64 = 4;

/// The preemption timer counts once in so many cycles of the TSC, as a power of two: the rate that
/// KVM offers.
const TIMER_RATE: u64 = 5;

const fn control(may: u64, must: u64) -> u64 {
    (may | must) << 32 | must
}

/// The default1 class without the controls among it that may be 0.
const fn must(pair: &Pair, free: u64) -> u64 {
    pair.default1 & !free
}

impl Capabilities {
    /// What an L0 that is all software can offer to an L1 with this processor: everything that this
    /// crate models, in the values that KVM's nested VMX uses where it offers the same.
    pub fn software(processor: Processor) -> Self {
        let cet = processor.has(Features::CET_SS) || processor.has(Features::CET_IBT);
        let perf = processor.perf_global_ctrl != 0;
        let when = |condition, bits: u64| if condition { bits } else { 0 };

        let mut all = Self::none(processor);
        all.feature_control = FeatureControl::VMX;
        let features = BasicFeatures::INS_OUTS_INFORMATION | BasicFeatures::TRUE_CONTROLS;
        // Processors with CET push an error code for #CP: these are the ones with this bit.
        let free_error_code = when(cet, BasicFeatures::FREE_ERROR_CODE.bits());
        all.basic = Basic(
            u64::from(KVM_REVISION)
                | (REGION_SIZE as u64) << 32
                | WRITE_BACK << 50
                | features.bits()
                | free_error_code,
        );

        let primary_free = PrimaryControls::CR3_LOAD_EXITING | PrimaryControls::CR3_STORE_EXITING;
        let exit_may = u64::from(EXIT.bits())
            | when(perf, ExitControls::LOAD_PERF_GLOBAL_CTRL.bits().into())
            | when(cet, ExitControls::LOAD_CET.bits().into());
        let entry_may = u64::from(ENTRY.bits())
            | when(perf, EntryControls::LOAD_PERF_GLOBAL_CTRL.bits().into())
            | when(cet, EntryControls::LOAD_CET.bits().into());
        all.true_pinbased_ctls = control(PinControls::all().bits().into(), must(&Pair::PIN, 0));
        all.true_procbased_ctls = control(
            PrimaryControls::all().difference(NO_PRIMARY).bits().into(),
            must(&Pair::PRIMARY, primary_free.bits().into()),
        );
        all.true_exit_ctls = control(
            exit_may,
            must(&Pair::EXIT, ExitControls::SAVE_DEBUG_CONTROLS.bits().into()),
        );
        all.true_entry_ctls = control(
            entry_may,
            must(
                &Pair::ENTRY,
                EntryControls::LOAD_DEBUG_CONTROLS.bits().into(),
            ),
        );
        for pair in Pair::ALL {
            let with_true = all.msr(pair.with_true).unwrap_or_default();
            all.set_msr(pair.basic, pair.basic_of(with_true));
        }
        all.procbased_ctls2 = control(SECONDARY.bits().into(), 0);
        all.misc = Misc(TIMER_RATE | MISC.bits() | CR3_TARGETS << 16);

        all.cr0_fixed0 = cr0::PE | cr0::NE | cr0::PG;
        all.cr0_fixed1 = 0xffff_ffff;
        all.cr4_fixed0 = cr4::VMXE;
        all.cr4_fixed1 = CR4
            | when(processor.has(Features::PCID), cr4::PCIDE)
            | when(processor.has(Features::LA57), cr4::LA57)
            | when(cet, cr4::CET);
        all.ept_vpid = EPT_VPID;
        if processor.has(Features::CET_SS) {
            all.ept_vpid |= EptVpid::SUPERVISOR_SHADOW_STACK;
        }
        all.vm_functions = super::dependencies::EPTP_SWITCHING;
        all.vmcs_enum = all.highest_index() << 1;
        all
    }
}
