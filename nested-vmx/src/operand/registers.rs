// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The registers that the linear address of an operand depends on.

use super::{AddressSize, Gpr, Segment};
use crate::controls::EntryControls;
use crate::vmcs::Vmcs;

/// The hidden part of a segment register, as in a VMCS (SDM volume 3, section 26.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SegmentRegister {
    /// The base address.
    pub base: u64,
    /// The limit in bytes, whatever the granularity.
    pub limit: u32,
    /// The access rights, in the format of SDM volume 3, table 26-2.
    pub access_rights: u32,
}

/// Bits of the access rights (SDM volume 3, table 26-2; for the type, section 3.4.5.1).
impl SegmentRegister {
    /// Of a code segment: it can be read. Of a data segment: it can be written.
    const READ_WRITE: u32 = 1 << 1;
    /// Of a data segment: it expands down.
    const EXPAND_DOWN: u32 = 1 << 2;
    /// It is a code segment.
    const CODE: u32 = 1 << 3;
    /// It is for 64-bit code (L).
    const LONG: u32 = 1 << 13;
    /// Default operand size, or upper bound (D/B).
    const BIG: u32 = 1 << 14;
    /// It is unusable.
    const UNUSABLE: u32 = 1 << 16;

    const fn has(self, bit: u32) -> bool {
        self.access_rights & bit != 0
    }

    /// Whether no access through it is possible outside 64-bit mode.
    pub const fn is_unusable(self) -> bool {
        self.has(Self::UNUSABLE)
    }

    /// Whether its type allows reads: not of execute-only code.
    pub const fn is_readable(self) -> bool {
        !self.has(Self::CODE) || self.has(Self::READ_WRITE)
    }

    /// Whether its type allows writes: not of code, not of read-only data.
    pub const fn is_writable(self) -> bool {
        !self.has(Self::CODE) && self.has(Self::READ_WRITE)
    }

    /// Whether it is for 64-bit code, in IA-32e mode.
    pub const fn is_long(self) -> bool {
        self.has(Self::LONG)
    }

    /// The first and the last offset that the limit allows (SDM volume 3, section 6.3): the first is
    /// above the last where it allows none.
    pub const fn bounds(self) -> (u64, u64) {
        let limit = self.limit as u64;
        if self.has(Self::CODE) || !self.has(Self::EXPAND_DOWN) {
            return (0, limit);
        }
        let size = match self.has(Self::BIG) {
            true => AddressSize::Bits32,
            false => AddressSize::Bits16,
        };
        (limit + 1, size.mask())
    }
}

/// A virtual processor's registers, as far as they matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Registers {
    /// The general-purpose registers, by number: see [`Gpr`].
    pub gpr: [u64; 16],
    /// The segment registers, by number: see [`Segment`].
    pub segments: [SegmentRegister; 6],
    /// Whether it is in 64-bit mode: IA32_EFER.LMA and CS.L are 1. If not, it has to be in
    /// protected mode, as it is wherever a VMX instruction has an operand.
    pub is_64_bit: bool,
    /// Bits of a linear address in 64-bit mode: 48, or 57 with CR4.LA57.
    pub linear_address_width: u32,
}

impl Registers {
    /// Those of the guest of this VMCS. RSP is taken from the VMCS, the other general-purpose
    /// registers from `gpr`, which has all of them; a VMCS has not the width of linear addresses.
    pub fn from_vmcs(vmcs: &Vmcs, mut gpr: [u64; 16], linear_address_width: u32) -> Self {
        if let Some(rsp) = gpr.get_mut(usize::from(Gpr::RSP.number())) {
            *rsp = vmcs.guest_rsp();
        }
        let segment = |base, limit, access_rights| SegmentRegister {
            base,
            limit,
            access_rights,
        };
        let segments = [
            segment(
                vmcs.guest_es_base(),
                vmcs.guest_es_limit(),
                vmcs.guest_es_ar_bytes(),
            ),
            segment(
                vmcs.guest_cs_base(),
                vmcs.guest_cs_limit(),
                vmcs.guest_cs_ar_bytes(),
            ),
            segment(
                vmcs.guest_ss_base(),
                vmcs.guest_ss_limit(),
                vmcs.guest_ss_ar_bytes(),
            ),
            segment(
                vmcs.guest_ds_base(),
                vmcs.guest_ds_limit(),
                vmcs.guest_ds_ar_bytes(),
            ),
            segment(
                vmcs.guest_fs_base(),
                vmcs.guest_fs_limit(),
                vmcs.guest_fs_ar_bytes(),
            ),
            segment(
                vmcs.guest_gs_base(),
                vmcs.guest_gs_limit(),
                vmcs.guest_gs_ar_bytes(),
            ),
        ];
        let mut registers = Self {
            gpr,
            segments,
            is_64_bit: false,
            linear_address_width,
        };
        registers.is_64_bit = vmcs.entry().contains(EntryControls::IA32E_MODE_GUEST)
            && registers.segment(Segment::Cs).is_long();
        registers
    }

    /// All 64 bits of a general-purpose register.
    pub fn gpr(&self, register: Gpr) -> u64 {
        self.gpr
            .get(usize::from(register.number()))
            .copied()
            .unwrap_or_default()
    }

    /// A segment register.
    pub fn segment(&self, segment: Segment) -> SegmentRegister {
        self.segments
            .get(segment as usize)
            .copied()
            .unwrap_or_default()
    }
}
