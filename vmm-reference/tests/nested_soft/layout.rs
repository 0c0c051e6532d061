// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where things lie in L1's memory. Virtual and physical addresses are the same, in L1 and in L2.

/// How much memory L1 has.
pub const MEMORY: u64 = 16 << 20;

/// The image, from the entry point in 32-bit protected mode on.
pub const ENTRY: u64 = 0x10_0000;
/// The vectors' stubs of L1 and of L2.
pub const L1_STUBS: u64 = 0x10_0400;
pub const L2_STUBS: u64 = 0x10_0800;
/// L1's code of 64 bits.
pub const CODE: u64 = 0x10_1000;
pub const TEXTS: u64 = 0x12_0000;
/// VMCS fields with their values.
pub const FIELDS: u64 = 0x13_0000;
pub const L2_CODE: u64 = 0x14_0000;
pub const PML4: u64 = 0x15_0000;
pub const PDPT: u64 = 0x15_1000;
/// Four pages, one for each GiB.
pub const PD: u64 = 0x15_2000;
pub const GDT: u64 = 0x15_8000;
pub const GDTR: u64 = 0x15_8800;
pub const L1_IDTR: u64 = 0x15_8810;
pub const TSS: u64 = 0x15_9000;
pub const L1_IDT: u64 = 0x15_a000;
pub const L2_IDT: u64 = 0x15_b000;

/// What the last exception of L1 was, and where L1 goes on behind it (0: not at all).
pub const L1_VECTOR: u64 = 0x17_0000;
pub const L1_ERROR: u64 = L1_VECTOR + 8;
pub const L1_RIP: u64 = L1_VECTOR + 16;
pub const FLAGS: u64 = 0x17_0080;
pub const RESUME: u64 = 0x17_0088;
pub const LAUNCHED: u64 = 0x17_0090;
pub const OPERAND: u64 = 0x17_0098;
/// L2's general-purpose registers, in the order of their numbers.
pub const L2_GPR: u64 = 0x17_0100;
/// The frame that L2's handler found: vector, error code, RIP, CS, RFLAGS, RSP, SS.
pub const L2_FRAME: u64 = 0x17_0200;
/// What L2 writes what it has seen to.
pub const L2_DATA: u64 = 0x17_0300;
pub const L2_STACK: u64 = 0x17_c000;
pub const L1_STACK: u64 = 0x18_0000;
pub const VMXON_REGION: u64 = 0x19_0000;
pub const VMCS: u64 = 0x19_1000;
pub const OTHER_VMCS: u64 = 0x19_2000;
pub const IO_BITMAP_A: u64 = 0x19_3000;
pub const IO_BITMAP_B: u64 = 0x19_4000;
pub const MSR_BITMAP: u64 = 0x19_5000;
/// EPT paging structures: the root; those of the lowest 512 GiB, of the lowest GiB and of its
/// lowest 2 MiB; those of the second GiB and of its lowest 2 MiB.
pub const EPT: u64 = 0x1a_0000;
pub const EPT_PDPT: u64 = 0x1a_1000;
pub const EPT_PD: u64 = 0x1a_2000;
pub const EPT_PT: u64 = 0x1a_3000;
pub const EPT_SECOND_PD: u64 = 0x1a_4000;
pub const EPT_SECOND_PT: u64 = 0x1a_5000;
/// Where the image ends.
pub const IMAGE_END: u64 = 0x1a_6000;

/// The local APIC's registers: a device's memory.
pub const DEVICE: u64 = 0xfee0_0000;
/// Neither memory nor a device's.
pub const NOTHING: u64 = 0x4000_0000;
