// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Prefixes (SDM volume 2, sections 2.1.1 and 2.2.1).

use super::super::memory_operand::{AddressSize, Gpr, Segment};
use super::cursor::Cursor;
use super::{DecodeError, Mode};

/// The prefix that is part of the opcode. F2 and F3 count before 66, and of these two the last one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mandatory {
    #[default]
    None,
    OperandSize,
    RepeatNotEqual,
    Repeat,
}

#[derive(Debug, Default)]
pub(super) struct Prefixes {
    pub(super) lock: bool,
    /// A segment override that acts: the last one. In 64-bit mode only FS and GS do.
    pub(super) segment: Option<Segment>,
    operand_size: bool,
    address_size: bool,
    repeat: Mandatory,
    /// REX, or 0.
    rex: u8,
}

/// REX.R, REX.X and REX.B: the high bit of the register that ModRM.reg, SIB.index, and ModRM.r/m or
/// SIB.base name.
#[derive(Clone, Copy)]
pub(super) enum Extension {
    Reg = 1 << 2,
    Index = 1 << 1,
    Base = 1 << 0,
}

impl Prefixes {
    /// Takes all prefixes, and the first byte after them.
    pub(super) fn read(cursor: &mut Cursor<'_>, mode: Mode) -> Result<(Self, u8), DecodeError> {
        let mut prefixes = Self::default();
        loop {
            let byte = cursor.byte()?;
            match (byte, mode) {
                // REX counts only directly before the opcode: legacy prefixes undo it.
                (0x40..=0x4f, Mode::Bits64) => {
                    prefixes.rex = byte;
                    continue;
                }
                (0x26 | 0x2e | 0x36 | 0x3e, Mode::Bits64) => {}
                (0x26, _) => prefixes.segment = Some(Segment::Es),
                (0x2e, _) => prefixes.segment = Some(Segment::Cs),
                (0x36, _) => prefixes.segment = Some(Segment::Ss),
                (0x3e, _) => prefixes.segment = Some(Segment::Ds),
                (0x64, _) => prefixes.segment = Some(Segment::Fs),
                (0x65, _) => prefixes.segment = Some(Segment::Gs),
                (0x66, _) => prefixes.operand_size = true,
                (0x67, _) => prefixes.address_size = true,
                (0xf0, _) => prefixes.lock = true,
                (0xf2, _) => prefixes.repeat = Mandatory::RepeatNotEqual,
                (0xf3, _) => prefixes.repeat = Mandatory::Repeat,
                _ => return Ok((prefixes, byte)),
            }
            prefixes.rex = 0;
        }
    }

    pub(super) const fn mandatory(&self) -> Mandatory {
        match (self.repeat, self.operand_size) {
            (Mandatory::None, true) => Mandatory::OperandSize,
            (repeat, _) => repeat,
        }
    }

    pub(super) const fn address_size(&self, mode: Mode) -> AddressSize {
        match (mode, self.address_size) {
            (Mode::Bits16, false) | (Mode::Bits32, true) => AddressSize::Bits16,
            (Mode::Bits16, true) | (Mode::Bits32, false) | (Mode::Bits64, true) => {
                AddressSize::Bits32
            }
            (Mode::Bits64, false) => AddressSize::Bits64,
        }
    }

    /// The register with this three-bit number, and its high bit from REX.
    pub(super) const fn register(&self, number: u8, extension: Extension) -> Gpr {
        match self.rex & extension as u8 != 0 {
            true => Gpr::new(number & 7 | 8),
            false => Gpr::new(number & 7),
        }
    }
}
