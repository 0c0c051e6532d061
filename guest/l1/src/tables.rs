// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the processor reads: segments, interrupts, pages; and the VMCS fields that point to it.

use nested_vmx::vmcs::Field;

use crate::code;
use crate::layout;

const CODE_64: u16 = 0x08;
const DATA: u16 = 0x10;
const TASK: u16 = 0x20;
const TSS_LIMIT: u64 = 0x67;
/// One byte less than five descriptors, the last of which takes two places.
const GDT_LIMIT: u16 = 0x2f;
const IDT_LIMIT: u16 = 0xfff;

/// Page-table entry bits.
const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const CACHE_DISABLED: u64 = 1 << 4;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
/// EPT entry bits.
const EPT_ALL: u64 = 0b111;
const EPT_WRITE_ONLY: u64 = 0b010;
const EPT_WRITE_BACK: u64 = 6 << 3;

const LARGE_PAGE: u64 = 0x20_0000;
const GIB: u64 = 0x4000_0000;

/// The memory of the tables: what is at which address.
pub(crate) fn tables() -> Vec<(u64, Vec<u8>)> {
    let low = large_pages(0, PRESENT | WRITABLE | ACCESSED | DIRTY);
    let apic = large_pages(
        3 * GIB,
        PRESENT | WRITABLE | CACHE_DISABLED | ACCESSED | DIRTY,
    );
    let directory = PRESENT | WRITABLE | ACCESSED;
    let mut all = vec![
        (layout::PML4, words([layout::PDPT | directory])),
        (
            layout::PDPT,
            words([
                layout::PD_LOW | directory,
                0,
                0,
                layout::PD_APIC | directory,
            ]),
        ),
        (layout::PD_LOW, words(low)),
        (layout::PD_APIC, words(apic)),
        (layout::GDT, words(descriptors())),
        (layout::GDTR, register(GDT_LIMIT, layout::GDT)),
        (layout::L1_IDTR, register(IDT_LIMIT, layout::L1_IDT)),
        (layout::L1_IDT, gates(code::l1_stubs())),
        (layout::L2_IDT, gates(code::l2_stubs())),
        // IA32_FS_BASE, which VM entry does not load (SDM volume 3, section 28.4).
        (layout::BAD_MSR_AREA, words([0xc000_0100, 0])),
        (layout::EPT_WRONG, words([layout::EPT | EPT_WRITE_ONLY])),
    ];
    for (root, hole) in [
        (layout::EPT, None),
        (layout::EPT_WITHOUT_STACK, Some(layout::BSS)),
    ] {
        let (pdpt, pd) = (root + 0x1000, root + 0x2000);
        let mut pages = large_pages(0, EPT_ALL | EPT_WRITE_BACK);
        if let Some(hole) = hole {
            pages[(hole / LARGE_PAGE) as usize] = 0;
        }
        all.push((root, words([pdpt | EPT_ALL])));
        all.push((pdpt, words([pd | EPT_ALL])));
        all.push((pd, words(pages)));
    }
    all
}

/// The entries of a page directory whose pages begin at `start`.
fn large_pages(start: u64, bits: u64) -> [u64; 512] {
    std::array::from_fn(|index| (start + index as u64 * LARGE_PAGE) | LARGE | bits)
}

/// Nothing, 64-bit code, data, 32-bit code, the task-state segment (which VMX wants busy, and LTR
/// does not).
fn descriptors() -> [u64; 6] {
    let task = 0x0000_8900_0000_0000 | TSS_LIMIT | (layout::TSS & 0xff_ffff) << 16;
    [
        0,
        0x00af_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0x00cf_9b00_0000_ffff,
        task,
        0,
    ]
}

/// What LGDT and LIDT load.
fn register(limit: u16, base: u64) -> Vec<u8> {
    [&limit.to_le_bytes()[..], &base.to_le_bytes()].concat()
}

/// Interrupt gates to stubs that follow each other.
fn gates(stubs: u64) -> Vec<u8> {
    words((0..256).flat_map(|vector| {
        let stub = stubs + vector * layout::STUB;
        let present_interrupt_gate = 0x8e00 << 32;
        [
            (stub & 0xffff)
                | u64::from(CODE_64) << 16
                | present_interrupt_gate
                | (stub >> 16 & 0xffff) << 48,
            stub >> 32,
        ]
    }))
}

fn words(words: impl IntoIterator<Item = u64>) -> Vec<u8> {
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}

/// The fields that all scenarios share: 64-bit mode in L1 and L2, flat segments, and L2 about to
/// call. CR0, CR3 and CR4 are L1's own, which it writes itself.
pub(crate) fn fields() -> Vec<(Field, u64)> {
    use Field::*;
    const CODE_RIGHTS: u64 = 0xa09b;
    const DATA_RIGHTS: u64 = 0xc093;
    const BUSY_TSS: u64 = 0x8b;
    const UNUSABLE: u64 = 1 << 16;
    const FLAT: u64 = 0xffff_ffff;
    vec![
        (GuestEsSelector, DATA.into()),
        (GuestCsSelector, CODE_64.into()),
        (GuestSsSelector, DATA.into()),
        (GuestDsSelector, DATA.into()),
        (GuestFsSelector, DATA.into()),
        (GuestGsSelector, DATA.into()),
        (GuestLdtrSelector, 0),
        (GuestTrSelector, TASK.into()),
        (HostEsSelector, DATA.into()),
        (HostCsSelector, CODE_64.into()),
        (HostSsSelector, DATA.into()),
        (HostDsSelector, DATA.into()),
        (HostFsSelector, DATA.into()),
        (HostGsSelector, DATA.into()),
        (HostTrSelector, TASK.into()),
        (VmExitMsrStoreAddr, 0),
        (VmExitMsrLoadAddr, 0),
        (VmEntryMsrLoadAddr, 0),
        (TscOffset, 0),
        (VmcsLinkPointer, u64::MAX),
        (GuestIa32Debugctl, 0),
        (ExceptionBitmap, 0),
        (PageFaultErrorCodeMask, 0),
        (PageFaultErrorCodeMatch, 0),
        (Cr3TargetCount, 0),
        (VmExitMsrStoreCount, 0),
        (VmExitMsrLoadCount, 0),
        (VmEntryMsrLoadCount, 0),
        (VmEntryIntrInfoField, 0),
        (VmEntryExceptionErrorCode, 0),
        (VmEntryInstructionLen, 0),
        (GuestEsLimit, FLAT),
        (GuestCsLimit, FLAT),
        (GuestSsLimit, FLAT),
        (GuestDsLimit, FLAT),
        (GuestFsLimit, FLAT),
        (GuestGsLimit, FLAT),
        (GuestLdtrLimit, 0),
        (GuestTrLimit, TSS_LIMIT),
        (GuestGdtrLimit, GDT_LIMIT.into()),
        (GuestIdtrLimit, IDT_LIMIT.into()),
        (GuestEsArBytes, DATA_RIGHTS),
        (GuestCsArBytes, CODE_RIGHTS),
        (GuestSsArBytes, DATA_RIGHTS),
        (GuestDsArBytes, DATA_RIGHTS),
        (GuestFsArBytes, DATA_RIGHTS),
        (GuestGsArBytes, DATA_RIGHTS),
        (GuestLdtrArBytes, UNUSABLE),
        (GuestTrArBytes, BUSY_TSS),
        (GuestInterruptibilityInfo, 0),
        (GuestActivityState, 0),
        (GuestSysenterCs, 0),
        (HostIa32SysenterCs, 0),
        (Cr0GuestHostMask, 0),
        (Cr4GuestHostMask, 0),
        (Cr0ReadShadow, 0),
        (Cr4ReadShadow, 0),
        (GuestEsBase, 0),
        (GuestCsBase, 0),
        (GuestSsBase, 0),
        (GuestDsBase, 0),
        (GuestFsBase, 0),
        (GuestGsBase, 0),
        (GuestLdtrBase, 0),
        (GuestTrBase, layout::TSS),
        (GuestGdtrBase, layout::GDT),
        (GuestIdtrBase, layout::L2_IDT),
        (GuestDr7, 0x400),
        (GuestRsp, layout::L2_STACK),
        (GuestRip, code::program(crate::scenario::Program::Call)),
        (GuestRflags, 0x2),
        (GuestPendingDbgExceptions, 0),
        (GuestSysenterEsp, 0),
        (GuestSysenterEip, 0),
        (HostFsBase, 0),
        (HostGsBase, 0),
        (HostTrBase, layout::TSS),
        (HostGdtrBase, layout::GDT),
        (HostIdtrBase, layout::L1_IDT),
        (HostIa32SysenterEsp, 0),
        (HostIa32SysenterEip, 0),
        (HostRsp, layout::L1_STACK - 0x1000),
        (HostRip, code::exit()),
    ]
}
