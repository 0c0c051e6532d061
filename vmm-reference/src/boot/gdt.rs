// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The segments that a kernel is entered with: flat ones.
//!
//! A descriptor is given once and used twice: in guest memory, for when the kernel reloads a
//! segment register, and in the register itself (SDM volume 3, 3.4.5).

use kvm_bindings::kvm_segment;

/// A code, data or task-state segment that begins at address 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    /// Code or data segment (otherwise one of the system's).
    code_or_data: bool,
    kind: u8,
    limit: u32,
    /// 64-bit code.
    long: bool,
    /// 32-bit code or stack.
    default_32: bool,
}

/// Code, execute and read, accessed.
const CODE: u8 = 0xb;
/// Data, read and write, accessed.
const DATA: u8 = 0x3;
/// A busy 32-bit or 64-bit task-state segment.
const TSS: u8 = 0xb;

impl Descriptor {
    pub(super) const CODE_64: Self = Self {
        code_or_data: true,
        kind: CODE,
        limit: u32::MAX,
        long: true,
        default_32: false,
    };
    pub(super) const CODE_32: Self = Self {
        long: false,
        default_32: true,
        ..Self::CODE_64
    };
    pub(super) const DATA: Self = Self {
        kind: DATA,
        ..Self::CODE_32
    };
    pub(super) const TSS: Self = Self {
        code_or_data: false,
        kind: TSS,
        limit: 0x67,
        long: false,
        default_32: false,
    };

    /// Limits above 1 MiB count in pages.
    fn in_pages(self) -> bool {
        self.limit > 0xf_ffff
    }

    /// As in a descriptor table.
    pub(super) fn encode(self) -> u64 {
        const PRESENT: u64 = 1 << 47;
        let limit = u64::from(if self.in_pages() {
            self.limit >> 12
        } else {
            self.limit
        });
        let flag = |set: bool, bit: u32| u64::from(set) << bit;
        limit & 0xffff
            | u64::from(self.kind) << 40
            | flag(self.code_or_data, 44)
            | PRESENT
            | (limit >> 16) << 48
            | flag(self.long, 53)
            | flag(self.default_32, 54)
            | flag(self.in_pages(), 55)
    }

    /// As in a segment register that holds `selector`.
    pub(super) fn segment(self, selector: u16) -> kvm_segment {
        kvm_segment {
            base: 0,
            limit: self.limit,
            selector,
            type_: self.kind,
            present: 1,
            dpl: 0,
            db: self.default_32.into(),
            s: self.code_or_data.into(),
            l: self.long.into(),
            g: self.in_pages().into(),
            avl: 0,
            unusable: 0,
            padding: 0,
        }
    }
}

/// The selectors that the 64-bit boot protocol demands for code and data (`__BOOT_CS`,
/// `__BOOT_DS`), and the next one.
pub(super) const CODE_SELECTOR: u16 = 0x10;
pub(super) const DATA_SELECTOR: u16 = 0x18;
pub(super) const TSS_SELECTOR: u16 = 0x20;

/// The table in memory; the last two words are one descriptor in long mode.
pub(super) const ENTRIES: usize = 6;

/// The descriptor table with this code segment.
pub(super) fn table(code: Descriptor) -> [u64; ENTRIES] {
    [
        0,
        0,
        code.encode(),
        Descriptor::DATA.encode(),
        Descriptor::TSS.encode(),
        0,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that Linux's own boot code has in its tables, but for the accessed bit.
    #[test]
    fn descriptors_are_encoded_as_the_manual_says() {
        assert_eq!(Descriptor::CODE_64.encode(), 0x00af_9b00_0000_ffff);
        assert_eq!(Descriptor::CODE_32.encode(), 0x00cf_9b00_0000_ffff);
        assert_eq!(Descriptor::DATA.encode(), 0x00cf_9300_0000_ffff);
        assert_eq!(Descriptor::TSS.encode(), 0x0000_8b00_0000_0067);
    }

    #[test]
    fn selectors_name_their_descriptors() {
        let table = table(Descriptor::CODE_64);
        assert_eq!(
            table[usize::from(CODE_SELECTOR / 8)],
            Descriptor::CODE_64.encode()
        );
        assert_eq!(
            table[usize::from(DATA_SELECTOR / 8)],
            Descriptor::DATA.encode()
        );
        assert_eq!(
            table[usize::from(TSS_SELECTOR / 8)],
            Descriptor::TSS.encode()
        );
    }
}
