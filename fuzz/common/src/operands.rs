// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Bytes decoded as VMX instructions in each mode, beside iced-x86; and the addresses of what they
//! find.

#[path = "../../../nested-vmx/tests/operand_decoding/iced.rs"]
mod iced;

use arbitrary::Unstructured;
use nested_vmx::operand::{
    InstructionInfo, MemoryOperand, Mode, Registers, Segment, SegmentRegister, decode,
};

/// Longer instructions there are none, and what follows one does not matter.
const LONGEST: usize = 16;

/// Decodes the first bytes of the input; the others are registers.
pub fn run(data: &[u8]) {
    let (instruction, rest) = data.split_at(data.len().min(LONGEST));
    let mut rest = Unstructured::new(rest);
    // Missing bytes are zeros.
    let registers = registers(&mut rest).unwrap_or_default();
    for mode in iced::MODES {
        if iced::agree(instruction, mode)
            && let Ok(decoded) = decode(instruction, mode.0, iced::RIP)
            && let Some(memory) = decoded.memory()
        {
            check_address(
                memory,
                &registers,
                mode.0,
                decoded.instruction.writes_memory(),
            );
        }
    }
    // What no processor gives has to be harmless too.
    let information = InstructionInfo(rest.arbitrary().unwrap_or_default());
    if let Some(memory) = information.memory_operand(rest.arbitrary().unwrap_or_default()) {
        check_address(&memory, &registers, Mode::Bits64, false);
        check_address(&memory, &registers, Mode::Bits32, true);
    }
}

fn registers(input: &mut Unstructured<'_>) -> arbitrary::Result<Registers> {
    let mut registers = Registers {
        linear_address_width: if input.arbitrary()? { 57 } else { 48 },
        ..Registers::default()
    };
    for segment in &mut registers.segments {
        *segment = SegmentRegister {
            base: input.arbitrary()?,
            limit: input.arbitrary()?,
            access_rights: input.arbitrary()?,
        };
    }
    registers.gpr = input.arbitrary()?;
    Ok(registers)
}

/// An address that is given is one that the access can have, byte by byte.
fn check_address(memory: &MemoryOperand, registers: &Registers, mode: Mode, write: bool) {
    const SIZE: u64 = 8;
    let registers = Registers {
        is_64_bit: mode == Mode::Bits64,
        ..*registers
    };
    let effective = memory.effective_address(&registers);
    assert_eq!(effective & !memory.address_size.mask(), 0, "{memory:?}");
    let Ok(linear) = memory.linear_address(&registers, SIZE as usize, write) else {
        return;
    };
    let segment = registers.segment(memory.segment);
    if registers.is_64_bit {
        let base = match memory.segment {
            Segment::Fs | Segment::Gs => segment.base,
            _ => 0,
        };
        assert_eq!(linear, base.wrapping_add(effective), "{memory:?}");
        let unused = 64 - registers.linear_address_width;
        for byte in 0..SIZE {
            let address = linear.wrapping_add(byte) as i64;
            assert_eq!(address << unused >> unused, address, "{memory:?}");
        }
    } else {
        assert_eq!(linear, segment.base.wrapping_add(effective) & 0xffff_ffff);
        let allowed = if write {
            segment.is_writable()
        } else {
            segment.is_readable()
        };
        assert!(allowed && !segment.is_unusable(), "{memory:?} {segment:?}");
        let (first, last) = segment.bounds();
        for byte in effective..effective + SIZE {
            assert!(first <= byte && byte <= last, "{memory:?} {segment:?}");
        }
    }
}
