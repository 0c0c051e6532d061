// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Controls (SDM volume 3, section 28.2.1).

use super::super::fill::VTPR;
use super::super::spoiler::when;
use super::{Recipe, recipe};
use crate::capability::EptVpid;
use crate::check::Rule;
use crate::controls::{
    EntryControls as Entry, ExitControls as Exit, PinControls as Pin, PrimaryControls as Primary,
    SecondaryControls as Secondary, SecondaryExitControls as SecondaryExit,
    TertiaryControls as Tertiary,
};
use crate::memory::L1Memory;
use crate::registers::interruptibility;
use crate::vmcs::Field;

/// Controls that no other rule asks about.
const HARMLESS_SECONDARY: Secondary = Secondary::DESCRIPTOR_TABLE_EXITING
    .union(Secondary::ENABLE_RDTSCP)
    .union(Secondary::WBINVD_EXITING)
    .union(Secondary::PAUSE_LOOP_EXITING)
    .union(Secondary::RDRAND_EXITING)
    .union(Secondary::ENABLE_INVPCID)
    .union(Secondary::ENCLS_EXITING)
    .union(Secondary::RDSEED_EXITING)
    .union(Secondary::CONCEAL_VMX_FROM_PT)
    .union(Secondary::ENABLE_XSAVES)
    .union(Secondary::ENABLE_USER_WAIT_AND_PAUSE)
    .union(Secondary::ENABLE_PCONFIG)
    .union(Secondary::ENCLV_EXITING)
    .union(Secondary::BUS_LOCK_DETECTION)
    .union(Secondary::NOTIFY_VM_EXITING);
const HARMLESS_TERTIARY: Tertiary = Tertiary::LOADIWKEY_EXITING.union(Tertiary::ENABLE_MSR_LIST);

/// A page that is where pages can be.
const SOME_PAGE: u64 = 0x5000;

pub(super) const RECIPES: &[Recipe] = &[
    recipe!(PinAllowed, |_| {}, |s| {
        let range = s.capabilities().pin();
        let harmless = !u64::from(Pin::all().bits());
        let field = Field::PinBasedVmExecControl;
        s.disallow(field, range.must_be_1(), range.allowed_1(), harmless)
    }),
    recipe!(PrimaryAllowed, |_| {}, |s| {
        let range = s.capabilities().primary();
        let harmless = !u64::from(Primary::all().bits());
        let field = Field::CpuBasedVmExecControl;
        s.disallow(field, range.must_be_1(), range.allowed_1(), harmless)
    }),
    recipe!(
        SecondaryAllowed,
        |p| p.on.insert(Primary::ACTIVATE_SECONDARY_CONTROLS),
        |s| {
            when(s.primary(Primary::ACTIVATE_SECONDARY_CONTROLS))?;
            let range = s.capabilities().secondary();
            let others = Secondary::all().difference(HARMLESS_SECONDARY);
            let field = Field::SecondaryVmExecControl;
            let harmless = !u64::from(others.bits());
            s.disallow(field, range.must_be_1(), range.allowed_1(), harmless)
        }
    ),
    recipe!(
        TertiaryAllowed,
        |p| p.on.insert(Primary::ACTIVATE_TERTIARY_CONTROLS),
        |s| {
            when(s.primary(Primary::ACTIVATE_TERTIARY_CONTROLS))?;
            let range = s.capabilities().tertiary();
            let others = Tertiary::all().difference(HARMLESS_TERTIARY);
            let field = Field::TertiaryVmExecControl;
            s.disallow(field, range.must_be_1(), range.allowed_1(), !others.bits())
        }
    ),
    recipe!(Cr3Targets, |_| {}, |s| {
        let most = u64::from(s.capabilities().misc.cr3_targets());
        let count = s.dice.above(most, 1 << 16);
        s.set(Field::Cr3TargetCount, count);
        Some(())
    }),
    recipe!(IoBitmaps, |p| p.on.insert(Primary::USE_IO_BITMAPS), |s| {
        when(s.primary(Primary::USE_IO_BITMAPS))?;
        let field = s.pick(&[Field::IoBitmapA, Field::IoBitmapB])?;
        s.misplace(field, 4096)
    }),
    recipe!(MsrBitmap, |p| p.on.insert(Primary::USE_MSR_BITMAPS), |s| {
        when(s.primary(Primary::USE_MSR_BITMAPS))?;
        s.misplace(Field::MsrBitmap, 4096)
    }),
    recipe!(
        VirtualApicPage,
        |p| p.on.insert(Primary::USE_TPR_SHADOW),
        |s| {
            when(s.primary(Primary::USE_TPR_SHADOW))?;
            // Whatever is at the other address, VTPR is not below 0.
            s.set(Field::TprThreshold, 0u64);
            s.misplace(Field::VirtualApicPageAddr, 4096)
        }
    ),
    recipe!(
        TprThresholdReserved,
        |p| {
            p.on.insert(Primary::USE_TPR_SHADOW);
            p.off.insert(Secondary::VIRTUAL_INTERRUPT_DELIVERY);
        },
        |s| {
            when(s.primary(Primary::USE_TPR_SHADOW))?;
            when(!s.secondary(Secondary::VIRTUAL_INTERRUPT_DELIVERY))?;
            s.set_one(Field::TprThreshold, !0xf & 0xffff_ffff)
        }
    ),
    recipe!(
        TprThresholdVtpr,
        |p| {
            p.on.insert(Primary::USE_TPR_SHADOW);
            p.off.insert(Secondary::VIRTUAL_INTERRUPT_DELIVERY);
            p.off.insert(Secondary::VIRTUALIZE_APIC_ACCESSES);
        },
        |s| {
            when(s.primary(Primary::USE_TPR_SHADOW))?;
            when(!s.secondary(Secondary::VIRTUAL_INTERRUPT_DELIVERY))?;
            when(!s.secondary(Secondary::VIRTUALIZE_APIC_ACCESSES))?;
            let vtpr = s.dice.below(0xf0);
            let page = s.vmcs().virtual_apic_page_addr();
            when(s.scenario.memory.set_word(page + VTPR, vtpr))?;
            let above = 1 + s.dice.below(15 - (vtpr >> 4));
            s.set(Field::TprThreshold, (vtpr >> 4) + above);
            Some(())
        }
    ),
    recipe!(
        ApicNeedsTprShadow,
        |p| {
            p.on.insert(Primary::ACTIVATE_SECONDARY_CONTROLS);
            p.off.insert(Primary::USE_TPR_SHADOW);
        },
        |s| {
            when(!s.primary(Primary::USE_TPR_SHADOW))?;
            let control = s.pick(&[
                Secondary::VIRTUALIZE_X2APIC_MODE,
                Secondary::APIC_REGISTER_VIRTUALIZATION,
                Secondary::VIRTUAL_INTERRUPT_DELIVERY,
            ])?;
            match control {
                // These exclude each other.
                Secondary::VIRTUALIZE_X2APIC_MODE => {
                    let other = Secondary::VIRTUALIZE_APIC_ACCESSES;
                    when(!s.secondary(other) || s.turn_off(other).is_some())?;
                }
                Secondary::VIRTUAL_INTERRUPT_DELIVERY => {
                    when(s.pin(Pin::EXTERNAL_INTERRUPT_EXITING))?;
                }
                _ => {}
            }
            s.turn_on(control)
        }
    ),
    recipe!(VirtualNmis, |p| p.off.insert(Pin::NMI_EXITING), |s| {
        when(!s.pin(Pin::NMI_EXITING))?;
        when(s.capabilities().pin().may_be_1(Pin::VIRTUAL_NMIS))?;
        s.insert(Field::PinBasedVmExecControl, Pin::VIRTUAL_NMIS.bits());
        // Now virtual NMIs would be blocked, and one may be injected.
        s.remove(Field::GuestInterruptibilityInfo, interruptibility::NMI);
        Some(())
    }),
    recipe!(NmiWindow, |p| p.off.insert(Pin::VIRTUAL_NMIS), |s| {
        let window = Primary::NMI_WINDOW_EXITING;
        when(!s.pin(Pin::VIRTUAL_NMIS))?;
        when(s.capabilities().primary().may_be_1(window))?;
        s.insert(Field::CpuBasedVmExecControl, window.bits());
        Some(())
    }),
    recipe!(
        ApicAccess,
        |p| p.on.insert(Secondary::VIRTUALIZE_APIC_ACCESSES),
        |s| {
            when(s.secondary(Secondary::VIRTUALIZE_APIC_ACCESSES))?;
            s.misplace(Field::ApicAccessAddr, 4096)
        }
    ),
    recipe!(
        X2apicExcludesApicAccess,
        |p| p.on.insert(Secondary::VIRTUALIZE_X2APIC_MODE),
        |s| {
            when(s.secondary(Secondary::VIRTUALIZE_X2APIC_MODE))?;
            s.set(Field::ApicAccessAddr, SOME_PAGE);
            s.turn_on(Secondary::VIRTUALIZE_APIC_ACCESSES)
        }
    ),
    recipe!(
        VirtualInterruptDelivery,
        |p| p.on.insert(Secondary::VIRTUAL_INTERRUPT_DELIVERY),
        |s| {
            let exiting = Pin::EXTERNAL_INTERRUPT_EXITING;
            when(s.secondary(Secondary::VIRTUAL_INTERRUPT_DELIVERY))?;
            when(s.capabilities().pin().must_be_1() & u64::from(exiting.bits()) == 0)?;
            s.remove(Field::PinBasedVmExecControl, exiting.bits());
            Some(())
        }
    ),
    recipe!(
        PostedNeedDelivery,
        |p| {
            p.on.insert(Pin::PROCESS_POSTED_INTERRUPTS);
            p.off.insert(Tertiary::APIC_TIMER_VIRTUALIZATION);
        },
        |s| {
            when(s.pin(Pin::PROCESS_POSTED_INTERRUPTS))?;
            // The threshold counts again.
            s.set(Field::TprThreshold, 0u64);
            s.turn_off(Secondary::VIRTUAL_INTERRUPT_DELIVERY)
        }
    ),
    recipe!(
        PostedNeedAcknowledge,
        |p| p.on.insert(Pin::PROCESS_POSTED_INTERRUPTS),
        |s| {
            let acknowledge = Exit::ACKNOWLEDGE_INTERRUPT_ON_EXIT;
            when(s.pin(Pin::PROCESS_POSTED_INTERRUPTS))?;
            when(s.capabilities().exit().must_be_1() & u64::from(acknowledge.bits()) == 0)?;
            s.remove(Field::VmExitControls, acknowledge.bits());
            Some(())
        }
    ),
    recipe!(
        PostedVector,
        |p| p.on.insert(Pin::PROCESS_POSTED_INTERRUPTS),
        |s| {
            when(s.pin(Pin::PROCESS_POSTED_INTERRUPTS))?;
            s.set_one(Field::PostedIntrNv, 0xff00)
        }
    ),
    recipe!(
        PostedDescriptor,
        |p| p.on.insert(Pin::PROCESS_POSTED_INTERRUPTS),
        |s| {
            when(s.pin(Pin::PROCESS_POSTED_INTERRUPTS))?;
            s.misplace(Field::PostedIntrDescAddr, 64)
        }
    ),
    recipe!(Vpid, |p| p.on.insert(Secondary::ENABLE_VPID), |s| {
        when(s.secondary(Secondary::ENABLE_VPID))?;
        s.set(Field::VirtualProcessorId, 0u64);
        Some(())
    }),
    recipe!(
        EptpMemoryType,
        |p| p.on.insert(Secondary::ENABLE_EPT),
        |s| {
            when(s.secondary(Secondary::ENABLE_EPT))?;
            let has = |bit| s.capabilities().ept_vpid.contains(bit);
            let (uc, wb) = (has(EptVpid::UC), has(EptVpid::WB));
            let memory_type = s.pick(&[1u64, 2, 3, 4, 5, 7, 0, 6])?;
            when(!(uc && memory_type == 0 || wb && memory_type == 6))?;
            s.remove(Field::EptPointer, 7u64);
            s.insert(Field::EptPointer, memory_type);
            Some(())
        }
    ),
    recipe!(EptpWalk, |p| p.on.insert(Secondary::ENABLE_EPT), |s| {
        when(s.secondary(Secondary::ENABLE_EPT))?;
        let has = |bit| s.capabilities().ept_vpid.contains(bit);
        let (four, five) = (has(EptVpid::WALK_4), has(EptVpid::WALK_5));
        let walk = s.pick(&[0u64, 1, 2, 5, 6, 7, 3, 4])?;
        when(!(four && walk == 3 || five && walk == 4))?;
        s.remove(Field::EptPointer, 7u64 << 3);
        s.insert(Field::EptPointer, walk << 3);
        Some(())
    }),
    recipe!(
        EptpAccessedDirty,
        |p| p.on.insert(Secondary::ENABLE_EPT),
        |s| {
            when(s.secondary(Secondary::ENABLE_EPT))?;
            when(!s.capabilities().ept_vpid.contains(EptVpid::ACCESSED_DIRTY))?;
            s.insert(Field::EptPointer, 1u64 << 6);
            Some(())
        }
    ),
    recipe!(EptpReserved, |p| p.on.insert(Secondary::ENABLE_EPT), |s| {
        when(s.secondary(Secondary::ENABLE_EPT))?;
        let shadow_stack = EptVpid::SUPERVISOR_SHADOW_STACK;
        let bit_7 = match s.capabilities().ept_vpid.contains(shadow_stack) {
            true => 0,
            false => 1 << 7,
        };
        let beyond = s.capabilities().processor.beyond_physical();
        s.set_one(Field::EptPointer, 0xf << 8 | bit_7 | beyond)
    }),
    recipe!(
        Pml,
        |p| p.on.insert(Primary::ACTIVATE_SECONDARY_CONTROLS),
        |s| {
            if s.secondary(Secondary::ENABLE_PML) {
                return s.misplace(Field::PmlAddress, 4096);
            }
            when(!s.secondary(Secondary::ENABLE_EPT))?;
            s.set(Field::PmlAddress, SOME_PAGE);
            s.turn_on(Secondary::ENABLE_PML)
        }
    ),
    recipe!(
        UnrestrictedGuest,
        |p| {
            p.on.insert(Primary::ACTIVATE_SECONDARY_CONTROLS);
            p.off.insert(Secondary::ENABLE_EPT);
        },
        |s| {
            when(!s.secondary(Secondary::ENABLE_EPT))?;
            s.turn_on(Secondary::UNRESTRICTED_GUEST)
        }
    ),
    recipe!(
        ModeBasedExecute,
        |p| {
            p.on.insert(Primary::ACTIVATE_SECONDARY_CONTROLS);
            p.off.insert(Secondary::ENABLE_EPT);
        },
        |s| {
            when(!s.secondary(Secondary::ENABLE_EPT))?;
            s.turn_on(Secondary::MODE_BASED_EXECUTE_CONTROL)
        }
    ),
    recipe!(
        SubPage,
        |p| p.on.insert(Primary::ACTIVATE_SECONDARY_CONTROLS),
        |s| {
            if s.secondary(Secondary::SUB_PAGE_WRITE_PERMISSIONS) {
                return s.misplace(Field::Spptp, 4096);
            }
            when(!s.secondary(Secondary::ENABLE_EPT))?;
            s.set(Field::Spptp, SOME_PAGE);
            s.turn_on(Secondary::SUB_PAGE_WRITE_PERMISSIONS)
        }
    ),
    recipe!(
        VmFunctions,
        |p| p.on.insert(Secondary::ENABLE_VM_FUNCTIONS),
        |s| {
            when(s.secondary(Secondary::ENABLE_VM_FUNCTIONS))?;
            // Bit 0 would ask for more.
            let unsupported = !s.capabilities().vm_functions & !1;
            s.set_one(Field::VmFunctionControl, unsupported)
        }
    ),
    recipe!(
        EptpSwitching,
        |p| p.on.insert(Secondary::ENABLE_VM_FUNCTIONS),
        |s| {
            when(s.secondary(Secondary::ENABLE_VM_FUNCTIONS))?;
            when(s.capabilities().vm_functions & 1 != 0)?;
            let has_ept = s.secondary(Secondary::ENABLE_EPT);
            let was_on = s.vmcs().vm_function_control() & 1 != 0;
            s.insert(Field::VmFunctionControl, 1u64);
            if !was_on {
                s.set(Field::EptpListAddress, SOME_PAGE);
            }
            match has_ept {
                true => s.misplace(Field::EptpListAddress, 4096),
                false => Some(()),
            }
        }
    ),
    recipe!(
        ShadowBitmaps,
        |p| p.on.insert(Secondary::VMCS_SHADOWING),
        |s| {
            when(s.secondary(Secondary::VMCS_SHADOWING))?;
            let field = s.pick(&[Field::VmreadBitmap, Field::VmwriteBitmap])?;
            s.misplace(field, 4096)
        }
    ),
    recipe!(
        VeInformation,
        |p| p.on.insert(Secondary::EPT_VIOLATION_VE),
        |s| {
            when(s.secondary(Secondary::EPT_VIOLATION_VE))?;
            s.misplace(Field::VeInformationAddress, 4096)
        }
    ),
    recipe!(
        TscMultiplier,
        |p| p.on.insert(Secondary::TSC_SCALING),
        |s| {
            when(s.secondary(Secondary::TSC_SCALING))?;
            s.set(Field::TscMultiplier, 0u64);
            Some(())
        }
    ),
    recipe!(
        PtGuestPhysical,
        |p| p.on.insert(Primary::ACTIVATE_SECONDARY_CONTROLS),
        |s| {
            let uses_gpa = Secondary::PT_USES_GUEST_PHYSICAL_ADDRESSES;
            if !s.secondary(uses_gpa) {
                let is_consistent = s.entry(Entry::LOAD_RTIT_CTL) && s.exit(Exit::CLEAR_RTIT_CTL);
                when(!s.secondary(Secondary::ENABLE_EPT) || !is_consistent)?;
                return s.turn_on(uses_gpa);
            }
            let (field, bits) = match s.dice.once_in(2) {
                true => (Field::VmEntryControls, Entry::LOAD_RTIT_CTL.bits()),
                false => (Field::VmExitControls, Exit::CLEAR_RTIT_CTL.bits()),
            };
            s.remove(field, bits);
            Some(())
        }
    ),
    recipe!(Hlat, |p| p.on.insert(Tertiary::ENABLE_HLAT), |s| {
        when(s.tertiary(Tertiary::ENABLE_HLAT))?;
        match s.dice.below(3) {
            0 => s.set_one(Field::HlatPointer, 7 | 0x7f << 5),
            1 => {
                let size = s.dice.above(52, 1 << 10);
                s.set(Field::HlatPrefixSize, size);
                Some(())
            }
            _ => {
                let beyond = s.capabilities().beyond_physical();
                s.set_one(Field::HlatPointer, beyond)
            }
        }
    }),
    recipe!(
        PagingVerification,
        |p| {
            p.on.insert(Primary::ACTIVATE_TERTIARY_CONTROLS);
            p.off.insert(Secondary::ENABLE_EPT);
        },
        |s| {
            when(s.primary(Primary::ACTIVATE_TERTIARY_CONTROLS))?;
            when(!s.secondary(Secondary::ENABLE_EPT))?;
            let control = s.pick(&[
                Tertiary::EPT_PAGING_WRITE_CONTROL,
                Tertiary::GUEST_PAGING_VERIFICATION,
            ])?;
            when(s.capabilities().tertiary().may_be_1(control))?;
            s.insert(Field::TertiaryVmExecControl, control.bits());
            Some(())
        }
    ),
    recipe!(
        IpiVirtualization,
        |p| p.on.insert(Tertiary::IPI_VIRTUALIZATION),
        |s| {
            when(s.tertiary(Tertiary::IPI_VIRTUALIZATION))?;
            if s.dice.once_in(3) {
                // The first entry is the last that there is memory for.
                let last = !s.capabilities().beyond_physical() & !7;
                let index = 1 + s.dice.below(0xfffe);
                s.set(Field::PidPointerTable, last);
                s.set(Field::LastPidPointerIndex, index);
                return Some(());
            }
            s.misplace(Field::PidPointerTable, 8)
        }
    ),
    recipe!(
        TimerVirtualization,
        |p| p.on.insert(Tertiary::APIC_TIMER_VIRTUALIZATION),
        |s| {
            when(s.tertiary(Tertiary::APIC_TIMER_VIRTUALIZATION))?;
            s.set_one(Field::VirtualTimerVector, 0xff00)
        }
    ),
    recipe!(ExitAllowed, |_| {}, |s| {
        let range = s.capabilities().exit();
        let harmless = !u64::from(Exit::all().bits());
        let field = Field::VmExitControls;
        s.disallow(field, range.must_be_1(), range.allowed_1(), harmless)
    }),
    recipe!(
        SecondaryExitAllowed,
        |p| p.on.insert(Exit::ACTIVATE_SECONDARY_CONTROLS),
        |s| {
            when(s.exit(Exit::ACTIVATE_SECONDARY_CONTROLS))?;
            let range = s.capabilities().secondary_exit();
            let field = Field::SecondaryVmExitControls;
            let harmless = !SecondaryExit::all().bits();
            s.disallow(field, range.must_be_1(), range.allowed_1(), harmless)
        }
    ),
    recipe!(SaveTimer, |p| p.off.insert(Pin::PREEMPTION_TIMER), |s| {
        when(!s.pin(Pin::PREEMPTION_TIMER))?;
        when(
            s.capabilities()
                .exit()
                .may_be_1(Exit::SAVE_PREEMPTION_TIMER),
        )?;
        s.insert(Field::VmExitControls, Exit::SAVE_PREEMPTION_TIMER.bits());
        Some(())
    }),
    recipe!(ExitStoreList, |p| p.msr_areas = Some(true), |s| {
        let count = s.vmcs().vm_exit_msr_store_count();
        displace_area(s, Field::VmExitMsrStoreAddr, count)
    }),
    recipe!(ExitLoadList, |p| p.msr_areas = Some(true), |s| {
        let count = s.vmcs().vm_exit_msr_load_count();
        displace_area(s, Field::VmExitMsrLoadAddr, count)
    }),
    recipe!(ListMax, |_| {}, |s| {
        let lists = [
            (Field::VmExitMsrStoreCount, Field::VmExitMsrStoreAddr),
            (Field::VmExitMsrLoadCount, Field::VmExitMsrLoadAddr),
        ];
        let (count_field, address_field) = s.pick(&lists)?;
        let most = u64::from(s.capabilities().misc.max_msr_list());
        let count = s.dice.above(most, 1 << 12);
        s.set(count_field, count);
        s.set(address_field, SOME_PAGE);
        Some(())
    }),
    recipe!(EntryAllowed, |_| {}, |s| {
        let range = s.capabilities().entry();
        let harmless = !u64::from(Entry::all().bits());
        let field = Field::VmEntryControls;
        s.disallow(field, range.must_be_1(), range.allowed_1(), harmless)
    }),
    recipe!(EntryLoadList, |p| p.msr_areas = Some(true), |s| {
        let count = s.vmcs().vm_entry_msr_load_count();
        let from = s.vmcs().vm_entry_msr_load_addr();
        displace_area(s, Field::VmEntryMsrLoadAddr, count)?;
        let to = s.vmcs().vm_entry_msr_load_addr();
        move_entries(s, from, to, count)
    }),
    recipe!(EntrySmm, |_| {}, |s| {
        let control = Entry::DEACTIVATE_DUAL_MONITOR;
        when(s.capabilities().entry().may_be_1(control))?;
        s.insert(Field::VmEntryControls, control.bits());
        Some(())
    }),
];

/// Moves an MSR area to where none can be: off its alignment, or so that its last byte or all of it
/// is beyond the physical address width.
fn displace_area(s: &mut super::Spoiler<'_, '_, '_>, field: Field, count: u32) -> Option<()> {
    when(count != 0)?;
    let beyond = s.capabilities().beyond_physical();
    let ends_beyond = count > 1 && s.dice.once_in(3);
    if ends_beyond {
        // By one entry, or by all but one.
        let last = !beyond & !0xf;
        let address = match s.dice.once_in(2) {
            true => last,
            false => last.checked_sub(16 * (u64::from(count) - 2))?,
        };
        s.set(field, address);
        return Some(());
    }
    s.misplace(field, 16)
}

/// Has the same entries at another address, where that is memory.
fn move_entries(s: &super::Spoiler<'_, '_, '_>, from: u64, to: u64, count: u32) -> Option<()> {
    let memory = &s.scenario.memory;
    // From the last one, for the new area may overlap the old one from above.
    for entry in (0..u64::from(count)).rev() {
        let mut bytes = [0; 16];
        memory.read(from + 16 * entry, &mut bytes).ok()?;
        let Some(at) = to.checked_add(16 * entry) else {
            return Some(());
        };
        if memory.write(at, &bytes).is_err() {
            return Some(());
        }
    }
    Some(())
}
