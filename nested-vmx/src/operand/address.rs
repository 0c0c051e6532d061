// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! From a memory operand to its linear address, with the checks of segmentation.

use thiserror::Error;

use super::{MemoryOperand, Registers, Segment, SegmentRegister};
use crate::registers::is_canonical;

/// The exception that an operand's address causes. Its error code is 0.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum OperandFault {
    /// #GP(0).
    #[error("#GP(0): the operand is outside of its segment, or its address is not canonical")]
    GeneralProtection,
    /// #SS(0): the same, for an operand in SS.
    #[error("#SS(0): the operand is outside of the stack segment, or its address is not canonical")]
    StackFault,
}

impl OperandFault {
    /// The exception's vector.
    pub const fn vector(self) -> u8 {
        match self {
            Self::GeneralProtection => 13,
            Self::StackFault => 12,
        }
    }

    /// What an address that is out of bounds causes.
    const fn of_address_in(segment: Segment) -> Self {
        match segment {
            Segment::Ss => Self::StackFault,
            _ => Self::GeneralProtection,
        }
    }
}

impl MemoryOperand {
    /// The effective address: the offset in the segment. It wraps at the address size.
    pub fn effective_address(&self, registers: &Registers) -> u64 {
        let part = |register| registers.gpr(register);
        let base = self.base.map_or(0, part);
        let index = self.index.map_or(0, part) << self.scale.shift();
        self.displacement.wrapping_add(base).wrapping_add(index) & self.address_size.mask()
    }

    /// The linear address of the operand's first byte, of `size` bytes that are read, or with
    /// `write` written. Outside 64-bit mode, the bytes that follow wrap at 4 GiB.
    ///
    /// # Errors
    ///
    /// [`OperandFault`], in 64-bit mode where the first or the last byte has an address that is not
    /// canonical, else where the segment is unusable, of the wrong type, or too short (SDM volume 3,
    /// chapter 32, the exceptions of each instruction).
    pub fn linear_address(
        &self,
        registers: &Registers,
        size: usize,
        write: bool,
    ) -> Result<u64, OperandFault> {
        let offset = self.effective_address(registers);
        let segment = registers.segment(self.segment);
        // How far the last byte is from the first one.
        let extent = u64::try_from(size.saturating_sub(1)).unwrap_or(u64::MAX);
        match registers.is_64_bit {
            true => {
                // All other bases are 0 (SDM volume 3, section 3.4.4).
                let base = match self.segment {
                    Segment::Fs | Segment::Gs => segment.base,
                    _ => 0,
                };
                let first = base.wrapping_add(offset);
                let width = registers.linear_address_width.clamp(1, 64);
                let canonical = |address| is_canonical(address, width);
                match canonical(first) && canonical(first.wrapping_add(extent)) {
                    true => Ok(first),
                    false => Err(OperandFault::of_address_in(self.segment)),
                }
            }
            false => {
                self.check_segment(segment, offset, extent, write)?;
                Ok(segment.base.wrapping_add(offset) & 0xffff_ffff)
            }
        }
    }

    /// The checks of protected mode (SDM volume 3, sections 6.3 to 6.5).
    fn check_segment(
        &self,
        segment: SegmentRegister,
        offset: u64,
        extent: u64,
        write: bool,
    ) -> Result<(), OperandFault> {
        if segment.is_unusable() {
            return Err(OperandFault::of_address_in(self.segment));
        }
        let allowed = match write {
            true => segment.is_writable(),
            false => segment.is_readable(),
        };
        if !allowed {
            return Err(OperandFault::GeneralProtection);
        }
        // An operand that runs over offset 4 GiB - 1 of a segment without a smaller limit "may or may
        // not" fault (section 6.3). Here it does, so that the bytes of an offset never wrap.
        let (first, last) = segment.bounds();
        match first <= offset && offset.checked_add(extent).is_some_and(|end| end <= last) {
            true => Ok(()),
            false => Err(OperandFault::of_address_in(self.segment)),
        }
    }
}
