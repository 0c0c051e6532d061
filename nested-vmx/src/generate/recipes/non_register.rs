// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guest non-register state (SDM volume 3, section 28.3.1.5).

use super::super::fill::NO_LINK;
use super::super::plan::{Blocking, Injection};
use super::super::spoiler::{Spoiler, when};
use super::{Recipe, recipe};
use crate::capability::Features;
use crate::check::Rule;
use crate::controls::{EntryControls as Entry, PinControls as Pin, SecondaryControls as Secondary};
use crate::memory::L1Memory;
use crate::registers::{activity, interruptibility, pending_debug, rflags};
use crate::vmcs::Field;

const BLOCKING: Field = Field::GuestInterruptibilityInfo;
const PENDING: Field = Field::GuestPendingDbgExceptions;

/// Reserved bits of the pending debug exceptions: 10:4, 13, 15 and 63:17.
const PENDING_RESERVED: u64 = 0x7f << 4 | 1 << 13 | 1 << 15 | !0x1_ffff;

/// The activity states that the processor has, other than active.
const STATES: [u32; 3] = [activity::SHUTDOWN, activity::WAIT_FOR_SIPI, activity::HLT];

pub(super) const RECIPES: &[Recipe] = &[
    recipe!(
        ActivitySupported,
        |p| {
            p.activity = Some(activity::ACTIVE);
            p.blocking = Some(Blocking::None);
            p.injections = &[Injection::None];
        },
        |s| {
            when(s.is_active() && s.blocking() == 0 && !s.injects())?;
            let state = match s.dice.once_in(2) {
                true => s.pick(&STATES)?,
                false => s.dice.above(3, 1 << 20) as u32,
            };
            when(!s.capabilities().misc.has_activity_state(state))?;
            // HLT asks for more.
            when(state != activity::HLT)?;
            s.set(Field::GuestActivityState, state);
            Some(())
        }
    ),
    recipe!(
        ActivityHlt,
        |p| {
            p.activity = Some(activity::ACTIVE);
            p.blocking = Some(Blocking::None);
            p.injections = &[Injection::None];
            p.privilege = Some(3);
        },
        |s| {
            when(s.is_active() && s.blocking() == 0 && !s.injects())?;
            when(s.privilege(super::super::fill::Segment::SS) != 0)?;
            when(s.capabilities().misc.has_activity_state(activity::HLT))?;
            s.set(Field::GuestActivityState, activity::HLT);
            s.settle_pending_debug();
            Some(())
        }
    ),
    recipe!(
        ActivityBlocking,
        |p| {
            p.activity = Some(activity::ACTIVE);
            p.blocking = Some(Blocking::Sti);
            p.injections = &[Injection::None];
            p.privilege = Some(0);
        },
        |s| {
            when(s.blocking() != 0 && !s.injects())?;
            let state = halting_state(s)?;
            s.set(Field::GuestActivityState, state);
            Some(())
        }
    ),
    recipe!(
        ActivityInjection,
        |p| {
            p.activity = Some(activity::ACTIVE);
            p.blocking = Some(Blocking::None);
            p.injections = Injection::EVENTS;
        },
        |s| {
            when(s.is_active() && s.blocking() == 0)?;
            let kind = s.injected_type()?;
            let vector = s.vmcs().vm_entry_intr_info_field() & 0xff;
            let state = halting_state(s)?;
            when(match (state, kind) {
                (activity::HLT, 0 | 2 | 7) | (activity::SHUTDOWN, 2) => false,
                (activity::HLT, 3) => !matches!(vector, 1 | 18),
                (activity::SHUTDOWN, 3) => vector != 18,
                _ => true,
            })?;
            s.set(Field::GuestActivityState, state);
            s.settle_pending_debug();
            Some(())
        }
    ),
    recipe!(
        ActivitySmm,
        |p| {
            p.activity = Some(activity::WAIT_FOR_SIPI);
            p.injections = &[Injection::None];
        },
        |s| {
            when(s.vmcs().guest_activity_state() == activity::WAIT_FOR_SIPI)?;
            when(s.capabilities().entry().may_be_1(Entry::ENTRY_TO_SMM))?;
            s.insert(Field::VmEntryControls, Entry::ENTRY_TO_SMM.bits());
            s.insert(BLOCKING, interruptibility::SMI);
            s.scenario.l1.in_smm = true;
            Some(())
        }
    ),
    recipe!(InterruptibilityReserved, |_| {}, |s| s
        .set_one(BLOCKING, 0xffff_ffe0)),
    recipe!(
        InterruptibilityBoth,
        |p| p.blocking = Some(Blocking::Sti),
        |s| {
            when(s.blocking() == interruptibility::STI)?;
            when(s.vmcs().guest_interruptibility_info() & interruptibility::ENCLAVE == 0)?;
            s.settle_pending_debug();
            s.insert(BLOCKING, interruptibility::MOV_SS);
            Some(())
        }
    ),
    recipe!(
        InterruptibilitySti,
        |p| p.blocking = Some(Blocking::Sti),
        |s| {
            when(s.blocking() == interruptibility::STI && s.injected_type() != Some(0))?;
            s.remove(Field::GuestRflags, rflags::IF);
            Some(())
        }
    ),
    recipe!(
        InterruptibilityInterrupt,
        |p| {
            p.injections = &[Injection::ExternalInterrupt];
            p.activity = Some(activity::ACTIVE);
        },
        |s| {
            when(s.injected_type() == Some(0))?;
            block(s)
        }
    ),
    recipe!(
        InterruptibilityNmi,
        |p| {
            p.injections = &[Injection::Nmi];
            p.activity = Some(activity::ACTIVE);
            p.interrupts = Some(true);
        },
        |s| {
            when(s.injected_type() == Some(2))?;
            block(s)
        }
    ),
    recipe!(InterruptibilitySmi, |_| {}, |s| {
        when(!s.entry(Entry::ENTRY_TO_SMM))?;
        s.insert(BLOCKING, interruptibility::SMI);
        Some(())
    }),
    recipe!(
        InterruptibilityVirtualNmi,
        |p| {
            p.injections = &[Injection::Nmi];
            p.on.insert(Pin::VIRTUAL_NMIS);
        },
        |s| {
            when(s.injected_type() == Some(2) && s.pin(Pin::VIRTUAL_NMIS))?;
            s.insert(BLOCKING, interruptibility::NMI);
            Some(())
        }
    ),
    recipe!(
        InterruptibilityEnclave,
        |p| p.blocking = Some(Blocking::MovSs),
        |s| {
            let has_sgx = s.capabilities().processor.has(Features::SGX);
            when(!has_sgx || s.blocking() == interruptibility::MOV_SS)?;
            s.insert(BLOCKING, interruptibility::ENCLAVE);
            Some(())
        }
    ),
    recipe!(PendingDebugReserved, |p| p.transaction = Some(false), |s| {
        when(s.vmcs().guest_pending_dbg_exceptions() & pending_debug::RTM == 0)?;
        let has_bit_11 = s.capabilities().processor.has(Features::BUS_LOCK_DEBUG);
        let bit_11 = if has_bit_11 { 0 } else { 1 << 11 };
        s.set_one(PENDING, PENDING_RESERVED | bit_11)
    }),
    recipe!(
        PendingDebugBs,
        |p| p.blocking = Some(Blocking::MovSs),
        |s| {
            let is_halted = s.vmcs().guest_activity_state() == activity::HLT;
            when(s.blocking() != 0 || is_halted)?;
            when(s.vmcs().guest_pending_dbg_exceptions() & pending_debug::RTM == 0)?;
            s.flip_one(PENDING, pending_debug::BS)
        }
    ),
    recipe!(
        PendingDebugRtm,
        |p| p.blocking = Some(Blocking::None),
        |s| {
            let has_rtm = s.capabilities().processor.has(Features::RTM);
            when(s.blocking() == 0 && s.is_active())?;
            let rtm = pending_debug::RTM | pending_debug::ENABLED_BREAKPOINT;
            s.set(PENDING, rtm);
            match has_rtm {
                true => s.set_one(PENDING, 0xf | pending_debug::BS),
                false => Some(()),
            }
        }
    ),
    recipe!(LinkAlignment, |p| p.linked = Some(true), |s| {
        let link = s.vmcs().vmcs_link_pointer();
        when(link != NO_LINK)?;
        s.misplace(Field::VmcsLinkPointer, 4096)?;
        // The same header there, where that is memory.
        let header = s.scenario.memory.read_u32(link).ok()?;
        let pointer = s.vmcs().vmcs_link_pointer();
        let _ = s.scenario.memory.write(pointer, &header.to_le_bytes());
        Some(())
    }),
    recipe!(LinkRevision, |p| p.linked = Some(true), |s| {
        let link = s.vmcs().vmcs_link_pointer();
        when(link != NO_LINK)?;
        let header = s.scenario.memory.read_u64(link).ok()?;
        let bit = s.dice.bit_of(0xffff_ffff);
        when(s.scenario.memory.set_word(link, header ^ bit))
    }),
    recipe!(LinkCurrent, |_| {}, |s| {
        let current = s.scenario.address?;
        let shadow = match s.secondary(Secondary::VMCS_SHADOWING) {
            true => 1 << 31,
            false => 0,
        };
        let revision = u64::from(s.capabilities().basic.revision());
        s.set(Field::VmcsLinkPointer, current);
        when(s.scenario.memory.set_word(current, revision | shadow))
    }),
];

/// An inactive state that the processor has, and that does not ask for more.
fn halting_state(s: &mut Spoiler<'_, '_, '_>) -> Option<u32> {
    let state = s.pick(&STATES)?;
    when(s.capabilities().misc.has_activity_state(state))?;
    let is_kernel = s.privilege(super::super::fill::Segment::SS) == 0;
    when(state != activity::HLT || is_kernel)?;
    Some(state)
}

/// Blocks events by STI or MOV SS.
fn block(s: &mut Spoiler<'_, '_, '_>) -> Option<()> {
    when(s.is_active() && s.blocking() == 0)?;
    let has_interrupts = s.vmcs().guest_rflags() & rflags::IF != 0;
    let in_enclave = s.vmcs().guest_interruptibility_info() & interruptibility::ENCLAVE != 0;
    let bit = match (has_interrupts, in_enclave) {
        (true, true) => interruptibility::STI,
        (true, false) => s.pick(&[interruptibility::STI, interruptibility::MOV_SS])?,
        (false, true) => return None,
        (false, false) => interruptibility::MOV_SS,
    };
    s.insert(BLOCKING, bit);
    s.settle_pending_debug();
    Some(())
}
