// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! ModRM, SIB and displacement (SDM volume 2, section 2.1.5, tables 2-1 to 2-3; for 64-bit mode,
//! section 2.2.1).

use super::super::memory_operand::{AddressSize, Gpr, MemoryOperand, Scale, Segment};
use super::cursor::Cursor;
use super::prefixes::{Extension, Prefixes};
use super::{DecodeError, Mode, RegisterOrMemory};

/// BX, BP, SI and DI.
const BX: Gpr = Gpr::new(3);
const BP: Gpr = Gpr::RBP;
const SI: Gpr = Gpr::new(6);
const DI: Gpr = Gpr::new(7);

/// The base and the index that ModRM.r/m names in a 16-bit address (table 2-1).
const TABLE_2_1: [(Gpr, Option<Gpr>); 8] = [
    (BX, Some(SI)),
    (BX, Some(DI)),
    (BP, Some(SI)),
    (BP, Some(DI)),
    (SI, None),
    (DI, None),
    (BP, None),
    (BX, None),
];

/// What ModRM and SIB say, without the displacement.
struct Form {
    base: Option<Gpr>,
    index: Option<Gpr>,
    scale: Scale,
    displacement: Displacement,
}

enum Displacement {
    None,
    Bits8,
    Bits16,
    Bits32,
    /// 32 bits, from the end of the instruction.
    RipRelative,
}

/// The ModRM byte.
#[derive(Clone, Copy)]
pub(super) struct ModRm(u8);

impl ModRm {
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        Ok(Self(cursor.byte()?))
    }

    const fn mode(self) -> u8 {
        self.0 >> 6
    }

    /// ModRM.reg, where it is part of the opcode.
    pub(super) const fn reg(self) -> u8 {
        self.0 >> 3 & 7
    }

    const fn rm(self) -> u8 {
        self.0 & 7
    }

    /// Whether ModRM.r/m names a register.
    pub(super) const fn is_register(self) -> bool {
        self.mode() == 3
    }

    /// The register that ModRM.reg names.
    pub(super) const fn register(self, prefixes: &Prefixes) -> Gpr {
        prefixes.register(self.reg(), Extension::Reg)
    }

    /// The operand that ModRM.r/m names. Takes the rest of the instruction: none of those that are
    /// decoded here has an immediate.
    pub(super) fn operand(
        self,
        cursor: &mut Cursor<'_>,
        prefixes: &Prefixes,
        mode: Mode,
        rip: u64,
    ) -> Result<RegisterOrMemory, DecodeError> {
        if self.is_register() {
            let register = prefixes.register(self.rm(), Extension::Base);
            return Ok(RegisterOrMemory::Register(register));
        }
        let address_size = prefixes.address_size(mode);
        let form = match address_size {
            AddressSize::Bits16 => self.form_16(),
            AddressSize::Bits32 | AddressSize::Bits64 => self.form_32(cursor, prefixes, mode)?,
        };
        let displacement = match form.displacement {
            Displacement::None => 0,
            Displacement::Bits8 => cursor.displacement_8()?,
            Displacement::Bits16 => cursor.displacement_16()?,
            Displacement::Bits32 => cursor.displacement_32()?,
            Displacement::RipRelative => {
                let displacement = cursor.displacement_32()?;
                let next = rip.wrapping_add(cursor.position().into());
                next.wrapping_add(displacement)
            }
        };
        Ok(RegisterOrMemory::Memory(MemoryOperand {
            segment: prefixes.segment.unwrap_or(Segment::default_for(form.base)),
            base: form.base,
            index: form.index,
            scale: form.scale,
            displacement,
            address_size,
        }))
    }

    /// Table 2-1.
    fn form_16(self) -> Form {
        let (base, index, displacement) = match (self.mode(), self.rm()) {
            (0, 6) => (None, None, Displacement::Bits16),
            (mode, rm) => {
                let named = TABLE_2_1.get(usize::from(rm)).copied();
                let displacement = match mode {
                    0 => Displacement::None,
                    1 => Displacement::Bits8,
                    _ => Displacement::Bits16,
                };
                let base = named.map(|(base, _)| base);
                (base, named.and_then(|(_, index)| index), displacement)
            }
        };
        Form {
            base,
            index,
            scale: Scale::By1,
            displacement,
        }
    }

    /// Tables 2-2 and 2-3, for 32-bit and 64-bit addresses.
    fn form_32(
        self,
        cursor: &mut Cursor<'_>,
        prefixes: &Prefixes,
        mode: Mode,
    ) -> Result<Form, DecodeError> {
        let by_mode = match self.mode() {
            0 => Displacement::None,
            1 => Displacement::Bits8,
            _ => Displacement::Bits32,
        };
        Ok(match (self.mode(), self.rm()) {
            // REX.B does not change what 4 and 5 mean here: they are escapes, not registers.
            (_, 4) => self.sib(cursor.byte()?, prefixes, by_mode),
            (0, 5) => Form {
                base: None,
                index: None,
                scale: Scale::By1,
                displacement: match mode {
                    Mode::Bits64 => Displacement::RipRelative,
                    Mode::Bits16 | Mode::Bits32 => Displacement::Bits32,
                },
            },
            (_, rm) => Form {
                base: Some(prefixes.register(rm, Extension::Base)),
                index: None,
                scale: Scale::By1,
                displacement: by_mode,
            },
        })
    }

    /// Table 2-3.
    fn sib(self, sib: u8, prefixes: &Prefixes, by_mode: Displacement) -> Form {
        let (base, displacement) = match (self.mode(), sib & 7) {
            (0, 5) => (None, Displacement::Bits32),
            (_, base) => (Some(prefixes.register(base, Extension::Base)), by_mode),
        };
        // With REX.X, 4 is R12.
        let index = Some(prefixes.register(sib >> 3, Extension::Index));
        let index = index.filter(|&index| index != Gpr::RSP);
        Form {
            base,
            index,
            scale: index.map_or(Scale::By1, |_| Scale::from_shift(sib >> 6)),
            displacement,
        }
    }
}
