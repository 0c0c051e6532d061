// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What goes when something else is taken away: capabilities that no VM entry could use, because a
//! rule asks for another one beside them, or that would mean nothing.

use super::{BasicFeatures, EptVpid, Features, MiscFeatures, Part};
use crate::controls::{
    EntryControls as Entry, ExitControls as Exit, PinControls as Pin, PrimaryControls as Primary,
    SecondaryControls as Secondary, SecondaryExitControls as SecondaryExit,
    TertiaryControls as Tertiary,
};
use crate::registers::{cr0, cr4};

/// Without any bit of `needs`, all of `dependent` goes.
pub(super) struct Dependency {
    pub(super) needs: Part,
    pub(super) dependent: Part,
}

const fn needs(needs: Part, dependent: Part) -> Dependency {
    Dependency { needs, dependent }
}

/// All of what EPT does in IA32_VMX_EPT_VPID_CAP.
const EPT: EptVpid = EptVpid::EXECUTE_ONLY
    .union(EptVpid::WALK_4)
    .union(EptVpid::WALK_5)
    .union(EptVpid::UC)
    .union(EptVpid::WB)
    .union(EptVpid::PAGE_2M)
    .union(EptVpid::PAGE_1G)
    .union(EptVpid::INVEPT)
    .union(EptVpid::ACCESSED_DIRTY)
    .union(EptVpid::ADVANCED_EXIT_INFORMATION)
    .union(EptVpid::SUPERVISOR_SHADOW_STACK)
    .union(INVEPT_TYPES);

const INVEPT_TYPES: EptVpid = EptVpid::INVEPT_SINGLE.union(EptVpid::INVEPT_ALL);

const INVVPID_TYPES: EptVpid = EptVpid::INVVPID_ADDRESS
    .union(EptVpid::INVVPID_SINGLE)
    .union(EptVpid::INVVPID_ALL)
    .union(EptVpid::INVVPID_SINGLE_RETAINING_GLOBALS);

/// Controls that VM entries refuse without the use of a TPR shadow (SDM volume 3, section
/// 28.2.1.1).
const WITH_TPR_SHADOW: Secondary = Secondary::VIRTUALIZE_X2APIC_MODE
    .union(Secondary::APIC_REGISTER_VIRTUALIZATION)
    .union(Secondary::VIRTUAL_INTERRUPT_DELIVERY);

/// Controls that VM entries refuse without EPT (section 28.2.1.1), and #VE, which has no violation
/// to tell of without it.
const WITH_EPT: Secondary = Secondary::UNRESTRICTED_GUEST
    .union(Secondary::ENABLE_PML)
    .union(Secondary::EPT_VIOLATION_VE)
    .union(Secondary::MODE_BASED_EXECUTE_CONTROL)
    .union(Secondary::SUB_PAGE_WRITE_PERMISSIONS)
    .union(Secondary::PT_USES_GUEST_PHYSICAL_ADDRESSES);

const SHADOW_STACK_OR_IBT: Features = Features::CET_SS.union(Features::CET_IBT);

/// VM function 0.
pub(super) const EPTP_SWITCHING: u64 = 1 << 0;

/// The table. Activation comes first, and what depends on much comes late, so that one pass mostly
/// does.
pub(super) const DEPENDENCIES: &[Dependency] = &[
    // Fields that cannot be activated (section 26.6.2, section 26.7.1).
    needs(
        Part::Primary(Primary::ACTIVATE_SECONDARY_CONTROLS),
        Part::Secondary(Secondary::from_bits_retain(u32::MAX)),
    ),
    needs(
        Part::Primary(Primary::ACTIVATE_TERTIARY_CONTROLS),
        Part::Tertiary(Tertiary::from_bits_retain(u64::MAX)),
    ),
    needs(
        Part::Exit(Exit::ACTIVATE_SECONDARY_CONTROLS),
        Part::SecondaryExit(SecondaryExit::from_bits_retain(u64::MAX)),
    ),
    // What CPUID tells of.
    needs(Part::Features(Features::PCID), Part::Cr4(cr4::PCIDE)),
    needs(Part::Features(Features::LA57), Part::Cr4(cr4::LA57)),
    needs(Part::Features(SHADOW_STACK_OR_IBT), Part::Cr4(cr4::CET)),
    needs(
        Part::Features(SHADOW_STACK_OR_IBT),
        Part::Entry(Entry::LOAD_CET),
    ),
    needs(
        Part::Features(SHADOW_STACK_OR_IBT),
        Part::Exit(Exit::LOAD_CET),
    ),
    needs(
        Part::Features(Features::CET_SS),
        Part::EptVpid(EptVpid::SUPERVISOR_SHADOW_STACK),
    ),
    needs(
        Part::Features(Features::CET_SS),
        Part::SecondaryExit(SecondaryExit::PREMATURELY_BUSY_SHADOW_STACK),
    ),
    needs(Part::Features(Features::FRED), Part::Cr4(cr4::FRED)),
    needs(
        Part::Features(Features::FRED),
        Part::Entry(Entry::LOAD_FRED),
    ),
    needs(
        Part::Features(Features::FRED),
        Part::SecondaryExit(SecondaryExit::SAVE_FRED.union(SecondaryExit::LOAD_FRED)),
    ),
    needs(
        Part::Features(Features::FRED),
        Part::Basic(BasicFeatures::NESTED_EXCEPTION),
    ),
    needs(
        Part::Features(Features::SGX),
        Part::Secondary(Secondary::ENCLS_EXITING.union(Secondary::ENCLV_EXITING)),
    ),
    // Bits of control registers that others need (sections 28.2.2, 28.2.4 and 28.3.1.1).
    needs(Part::Cr0(cr0::WP), Part::Cr4(cr4::CET)),
    needs(
        Part::Cr4(cr4::PAE),
        Part::Exit(Exit::HOST_ADDRESS_SPACE_SIZE),
    ),
    // EPT: a pointer needs a walk length and a memory type (section 26.6.11).
    needs(
        Part::EptVpid(EptVpid::WALK_4.union(EptVpid::WALK_5)),
        Part::Secondary(Secondary::ENABLE_EPT),
    ),
    needs(
        Part::EptVpid(EptVpid::UC.union(EptVpid::WB)),
        Part::Secondary(Secondary::ENABLE_EPT),
    ),
    needs(Part::Secondary(Secondary::ENABLE_EPT), Part::EptVpid(EPT)),
    needs(
        Part::Secondary(Secondary::ENABLE_EPT),
        Part::Secondary(WITH_EPT),
    ),
    needs(
        Part::Secondary(Secondary::ENABLE_EPT),
        Part::Tertiary(
            Tertiary::EPT_PAGING_WRITE_CONTROL.union(Tertiary::GUEST_PAGING_VERIFICATION),
        ),
    ),
    needs(
        Part::Secondary(Secondary::ENABLE_EPT),
        Part::VmFunctions(EPTP_SWITCHING),
    ),
    // Page-modification logging logs where a dirty flag is set (section 30.3.6).
    needs(
        Part::EptVpid(EptVpid::ACCESSED_DIRTY),
        Part::Secondary(Secondary::ENABLE_PML),
    ),
    // INVEPT and INVVPID exist with at least one type, and a type with the instruction.
    needs(Part::EptVpid(INVEPT_TYPES), Part::EptVpid(EptVpid::INVEPT)),
    needs(Part::EptVpid(EptVpid::INVEPT), Part::EptVpid(INVEPT_TYPES)),
    needs(
        Part::Secondary(Secondary::ENABLE_VPID),
        Part::EptVpid(EptVpid::INVVPID.union(INVVPID_TYPES)),
    ),
    needs(
        Part::EptVpid(INVVPID_TYPES),
        Part::EptVpid(EptVpid::INVVPID),
    ),
    needs(
        Part::EptVpid(EptVpid::INVVPID),
        Part::EptVpid(INVVPID_TYPES),
    ),
    needs(
        Part::Secondary(Secondary::ENABLE_VM_FUNCTIONS),
        Part::VmFunctions(u64::MAX),
    ),
    // Interrupts and NMIs (section 28.2.1.1).
    needs(Part::Pin(Pin::NMI_EXITING), Part::Pin(Pin::VIRTUAL_NMIS)),
    needs(
        Part::Pin(Pin::VIRTUAL_NMIS),
        Part::Primary(Primary::NMI_WINDOW_EXITING),
    ),
    needs(
        Part::Primary(Primary::USE_TPR_SHADOW),
        Part::Secondary(WITH_TPR_SHADOW),
    ),
    needs(
        Part::Primary(Primary::USE_TPR_SHADOW),
        Part::Tertiary(Tertiary::IPI_VIRTUALIZATION),
    ),
    needs(
        Part::Pin(Pin::EXTERNAL_INTERRUPT_EXITING),
        Part::Secondary(Secondary::VIRTUAL_INTERRUPT_DELIVERY),
    ),
    needs(
        Part::Secondary(Secondary::VIRTUAL_INTERRUPT_DELIVERY),
        Part::Pin(Pin::PROCESS_POSTED_INTERRUPTS),
    ),
    needs(
        Part::Secondary(Secondary::VIRTUAL_INTERRUPT_DELIVERY),
        Part::Tertiary(Tertiary::APIC_TIMER_VIRTUALIZATION),
    ),
    needs(
        Part::Exit(Exit::ACKNOWLEDGE_INTERRUPT_ON_EXIT),
        Part::Pin(Pin::PROCESS_POSTED_INTERRUPTS),
    ),
    // VM exits and entries (sections 28.2.1.2, 28.2.1.3 and 28.2.4).
    needs(
        Part::Pin(Pin::PREEMPTION_TIMER),
        Part::Exit(Exit::SAVE_PREEMPTION_TIMER),
    ),
    needs(
        Part::Exit(Exit::HOST_ADDRESS_SPACE_SIZE),
        Part::Entry(Entry::IA32E_MODE_GUEST),
    ),
    needs(
        Part::Misc(MiscFeatures::PROCESSOR_TRACE),
        Part::Secondary(Secondary::PT_USES_GUEST_PHYSICAL_ADDRESSES),
    ),
    needs(
        Part::Entry(Entry::LOAD_RTIT_CTL),
        Part::Secondary(Secondary::PT_USES_GUEST_PHYSICAL_ADDRESSES),
    ),
    needs(
        Part::Exit(Exit::CLEAR_RTIT_CTL),
        Part::Secondary(Secondary::PT_USES_GUEST_PHYSICAL_ADDRESSES),
    ),
];
