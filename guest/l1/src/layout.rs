// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where everything lies in memory. Virtual and physical addresses are the same, in L1 and in L2.

use std::ops::Range;

/// The image: code, tables and scenarios, in this order.
pub const IMAGE: Range<u64> = CODE..0x18_0000;

/// The code, from its first byte on: the entry point.
pub const CODE: u64 = 0x10_0000;
/// The root of L1's page tables, and of L2's where it has no other.
pub(crate) const PML4: u64 = 0x11_0000;
pub(crate) const PDPT: u64 = 0x11_1000;
/// Page directories of 2 MiB pages: the lowest GiB, and that of the local APIC.
pub(crate) const PD_LOW: u64 = 0x11_2000;
pub(crate) const PD_APIC: u64 = 0x11_3000;
pub(crate) const GDT: u64 = 0x11_8000;
/// What LGDT and LIDT load.
pub(crate) const GDTR: u64 = 0x11_8800;
pub(crate) const L1_IDTR: u64 = 0x11_8810;
pub(crate) const TSS: u64 = 0x11_9000;
pub(crate) const L1_IDT: u64 = 0x11_a000;
pub(crate) const L2_IDT: u64 = 0x11_b000;
/// An MSR area with one entry, which no processor loads.
pub(crate) const BAD_MSR_AREA: u64 = 0x11_c000;
/// What the image is told: see [`crate::Mode`], and whether it is a ROM that has started it.
pub(crate) const CONFIG: u64 = 0x11_f000;
pub(crate) const MODE: u64 = CONFIG;
pub(crate) const HAS_APIC: u64 = CONFIG + 8;
pub(crate) const BARE: u64 = CONFIG + 16;
/// The fields that all scenarios share, then the records, the lists and the names.
pub(crate) const FIELDS: u64 = 0x12_0000;
pub(crate) const SCENARIOS: u64 = 0x12_1000;
/// EPT paging structures, three pages each: everything as it is, and without L2's stack.
pub(crate) const EPT: u64 = 0x17_9000;
pub(crate) const EPT_WITHOUT_STACK: u64 = 0x17_c000;
/// EPT paging structures whose first entry has a reserved combination of bits.
pub(crate) const EPT_WRONG: u64 = 0x17_f000;

/// What L1 zeroes when it begins.
pub(crate) const BSS: u64 = 0x20_0000;
pub(crate) const VMXON_REGION: u64 = 0x20_0000;
/// The region of L2's VMCS.
pub const VMCS: u64 = 0x20_1000;
/// The top of the stack, from which L2's goes down.
pub(crate) const L2_STACK: u64 = 0x20_5000;
pub(crate) const L1_STACK: u64 = 0x20_7000;
/// How often each vector came, 8 bytes each.
pub(crate) const L1_COUNTS: u64 = 0x20_8000;
pub(crate) const L2_COUNTS: u64 = 0x20_8800;
const VARIABLES: u64 = 0x20_9000;
pub(crate) const VMXON_POINTER: u64 = VARIABLES;
pub(crate) const VMCS_POINTER: u64 = VARIABLES + 0x08;
pub(crate) const LAUNCHED: u64 = VARIABLES + 0x10;
pub(crate) const EXITS: u64 = VARIABLES + 0x18;
pub(crate) const SAVED_RSP: u64 = VARIABLES + 0x20;
pub(crate) const SAVED_RBX: u64 = VARIABLES + 0x28;
pub(crate) const NMI_STAYS: u64 = VARIABLES + 0x30;
pub(crate) const LINE_END: u64 = VARIABLES + 0x38;
pub(crate) const L2_PROGRESS: u64 = VARIABLES + 0x40;
/// The line that is being gathered. The longest has 16 numbers and their names.
pub(crate) const LINE: u64 = VARIABLES + 0x800;
/// What the VMM and L1 tell each other, see [`crate::storm::Shared`].
pub const SHARED: u64 = 0x20_a000;
pub(crate) const SHARED_STOP: u64 = SHARED;
pub(crate) const SHARED_ITERATIONS: u64 = SHARED + 0x08;
pub(crate) const SHARED_EXITS: u64 = SHARED + 0x10;
pub(crate) const SHARED_INTERRUPTS: u64 = SHARED + 0x18;
pub(crate) const SHARED_NMIS: u64 = SHARED + 0x20;
pub(crate) const SHARED_INTERRUPT_EXIT: u64 = SHARED + 0x28;
pub(crate) const SHARED_NMI_EXIT: u64 = SHARED + 0x30;
pub(crate) const SHARED_INJECTED: u64 = SHARED + 0x38;
pub(crate) const SHARED_STATE: u64 = SHARED + 0x40;
pub(crate) const BSS_END: u64 = 0x20_b000;

/// How much memory a machine must have for it.
pub const MEMORY: u64 = 0x40_0000;

pub(crate) const APIC: u64 = 0xfee0_0000;

/// Each handler's stub has so many bytes.
pub(crate) const STUB: u64 = 16;
/// Each L2 program has so many bytes.
pub(crate) const PROGRAM: u64 = 32;
