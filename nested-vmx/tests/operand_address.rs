// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Linear addresses of memory operands, and the faults of segmentation.

use nested_vmx::controls::EntryControls;
use nested_vmx::operand::OperandFault::{GeneralProtection, StackFault};
use nested_vmx::operand::{
    AddressSize, Gpr, InstructionInfo, MemoryOperand, OperandFault, Registers, Scale, Segment,
    SegmentRegister,
};
use nested_vmx::vmcs::{Field, KVM_REVISION, Vmcs};
use proptest::prelude::*;

/// Access rights: present, a code or data segment, with this type, 32-bit.
const fn access_rights(kind: u32) -> u32 {
    kind | 1 << 4 | 1 << 7 | 1 << 14
}

const DATA: u32 = access_rights(3);
const READ_ONLY: u32 = access_rights(1);
const EXPAND_DOWN: u32 = access_rights(7);
const EXECUTE_ONLY: u32 = access_rights(9);
const CODE: u32 = access_rights(11);
const BIG: u32 = 1 << 14;
const UNUSABLE: u32 = 1 << 16;

const ABSOLUTE: MemoryOperand = MemoryOperand {
    segment: Segment::Ds,
    base: None,
    index: None,
    scale: Scale::By1,
    displacement: 0,
    address_size: AddressSize::Bits32,
};

/// Protected mode, with all segments the same.
fn protected(segment: SegmentRegister) -> Registers {
    Registers {
        segments: [segment; 6],
        ..Registers::default()
    }
}

fn long() -> Registers {
    Registers {
        segments: [SegmentRegister {
            base: 0x10_0000,
            limit: 0,
            access_rights: UNUSABLE,
        }; 6],
        is_64_bit: true,
        linear_address_width: 48,
        ..Registers::default()
    }
}

/// Linear address of 8 bytes at `offset`, outside 64-bit mode.
fn in_segment(
    segment: Segment,
    (limit, access_rights): (u32, u32),
    offset: u64,
    write: bool,
) -> Result<u64, OperandFault> {
    let registers = protected(SegmentRegister {
        base: 0x1000,
        limit,
        access_rights,
    });
    let operand = MemoryOperand {
        segment,
        displacement: offset,
        ..ABSOLUTE
    };
    operand.linear_address(&registers, 8, write)
}

#[test]
fn segments_of_protected_mode() {
    const GP: Result<u64, OperandFault> = Err(GeneralProtection);
    const SS: Result<u64, OperandFault> = Err(StackFault);
    let small = 0xfff;
    let table = [
        // Limits.
        (Segment::Ds, (small, DATA), 0xff8, true, Ok(0x1ff8)),
        (Segment::Ds, (small, DATA), 0xff9, false, GP),
        (Segment::Ss, (small, DATA), 0xff9, false, SS),
        (Segment::Cs, (small, CODE), 0xff8, false, Ok(0x1ff8)),
        (Segment::Cs, (small, CODE), 0xff9, false, GP),
        (Segment::Ds, (u32::MAX, DATA), 0xffff_fff8, false, Ok(0xff8)),
        (Segment::Ds, (u32::MAX, DATA), 0xffff_fff9, false, GP),
        // Expand-down: above the limit, to 4 GiB or 64 KiB.
        (Segment::Es, (small, EXPAND_DOWN), 0xfff, false, GP),
        (Segment::Ss, (small, EXPAND_DOWN), 0xfff, false, SS),
        (Segment::Es, (small, EXPAND_DOWN), 0x1000, true, Ok(0x2000)),
        (
            Segment::Es,
            (small, EXPAND_DOWN & !BIG),
            0xfff8,
            true,
            Ok(0x1_0ff8),
        ),
        (Segment::Es, (small, EXPAND_DOWN & !BIG), 0xfff9, true, GP),
        (Segment::Es, (u32::MAX, EXPAND_DOWN), 0xffff_ffff, true, GP),
        // Types.
        (Segment::Ds, (small, READ_ONLY), 0, false, Ok(0x1000)),
        (Segment::Ds, (small, READ_ONLY), 0, true, GP),
        (Segment::Cs, (small, CODE), 0, false, Ok(0x1000)),
        (Segment::Cs, (small, CODE), 0, true, GP),
        (Segment::Cs, (small, EXECUTE_ONLY), 0, false, GP),
        // Unusable.
        (Segment::Fs, (small, DATA | UNUSABLE), 0, false, GP),
        (Segment::Ss, (small, DATA | UNUSABLE), 0, false, SS),
    ];
    for (segment, of, offset, write, expected) in table {
        let address = in_segment(segment, of, offset, write);
        assert_eq!(address, expected, "{segment:?} {of:x?} {offset:#x} {write}");
    }
}

#[test]
fn long_mode_uses_no_limit_and_two_bases() {
    let address = |segment| {
        let operand = MemoryOperand {
            segment,
            displacement: 0x8000,
            address_size: AddressSize::Bits64,
            ..ABSOLUTE
        };
        operand.linear_address(&long(), 16, true).unwrap()
    };
    let addresses = Segment::ALL.map(address);
    let with_base = 0x10_8000;
    assert_eq!(
        addresses,
        [0x8000, 0x8000, 0x8000, 0x8000, with_base, with_base]
    );
}

#[test]
fn canonical_in_long_mode() {
    let address = |segment, displacement, width| {
        let registers = Registers {
            linear_address_width: width,
            ..long()
        };
        let operand = MemoryOperand {
            segment,
            displacement,
            address_size: AddressSize::Bits64,
            ..ABSOLUTE
        };
        operand.linear_address(&registers, 8, false)
    };
    let last = 0x7fff_ffff_fff8;
    assert_eq!(address(Segment::Ds, last, 48), Ok(last));
    // The eighth byte is not canonical.
    assert_eq!(address(Segment::Ds, last + 1, 48), Err(GeneralProtection));
    assert_eq!(address(Segment::Ss, last + 1, 48), Err(StackFault));
    assert_eq!(address(Segment::Ss, last + 1, 57), Ok(last + 1));
    let first_high = 0xffff_8000_0000_0000;
    assert_eq!(address(Segment::Ds, first_high, 48), Ok(first_high));
    assert_eq!(
        address(Segment::Ds, first_high - 1, 48),
        Err(GeneralProtection)
    );
    // The base counts.
    assert_eq!(address(Segment::Gs, last, 48), Err(GeneralProtection));
}

#[test]
fn from_the_information_of_an_exit() {
    // A 64-bit address, in FS, RSI as index times 4, RBX as base, RCX as the second operand.
    let information = InstructionInfo(2 | 2 << 7 | 4 << 15 | 6 << 18 | 3 << 23 | 1 << 28);
    let operand = information.memory_operand(0x30).unwrap();
    assert_eq!(information.reg2(), Gpr::new(1));
    let mut registers = long();
    registers.gpr[6] = 0x100;
    registers.gpr[3] = 0x8000;
    assert_eq!(operand.linear_address(&registers, 8, false), Ok(0x10_8430));
    // Address sizes and segments that do not exist.
    assert_eq!(InstructionInfo(3 << 7).memory_operand(0), None);
    assert_eq!(InstructionInfo(6 << 15).memory_operand(0), None);
}

#[test]
fn registers_from_a_vmcs() {
    let mut vmcs = Vmcs::new(KVM_REVISION);
    vmcs.write(Field::GuestRsp, 0x1234);
    vmcs.write(Field::GuestGsBase, 0x5000);
    vmcs.write(Field::GuestSsLimit, 0xfff);
    vmcs.write(Field::GuestCsArBytes, 0xa09b);
    let mode = |vmcs: &Vmcs| Registers::from_vmcs(vmcs, [7; 16], 48).is_64_bit;
    assert!(!mode(&vmcs), "CS.L means nothing outside IA-32e mode");
    let control = EntryControls::IA32E_MODE_GUEST.bits();
    vmcs.write(Field::VmEntryControls, control.into());
    assert!(mode(&vmcs));
    let registers = Registers::from_vmcs(&vmcs, [7; 16], 48);
    assert_eq!(registers.gpr(Gpr::RSP), 0x1234);
    assert_eq!(registers.gpr(Gpr::RBP), 7);
    assert_eq!(registers.segment(Segment::Gs).base, 0x5000);
    assert_eq!(registers.segment(Segment::Ss).limit, 0xfff);
    vmcs.write(Field::GuestCsArBytes, 0xc09b);
    assert!(!mode(&vmcs), "compatibility mode");
}

fn operand() -> impl Strategy<Value = MemoryOperand> {
    let register = || prop::option::of((0..16_u8).prop_map(Gpr::new));
    let size = [
        AddressSize::Bits16,
        AddressSize::Bits32,
        AddressSize::Bits64,
    ];
    (
        prop::sample::select(&Segment::ALL[..]),
        register(),
        register(),
        (0..4_u8).prop_map(Scale::from_shift),
        any::<u64>(),
        prop::sample::select(size.to_vec()),
    )
        .prop_map(
            |(segment, base, index, scale, displacement, address_size)| MemoryOperand {
                segment,
                base,
                index,
                scale,
                displacement,
                address_size,
            },
        )
}

proptest! {
    /// The sum of the parts in numbers that do not wrap, then cut to the address size.
    #[test]
    fn effective_address(operand in operand(), gpr in any::<[u64; 16]>()) {
        let registers = Registers { gpr, ..Registers::default() };
        let part = |register: Option<Gpr>| {
            register.map_or(0, |register| u128::from(gpr[usize::from(register.number())]))
        };
        let factor = 1 << operand.scale.shift();
        let sum = part(operand.base) + part(operand.index) * factor
            + u128::from(operand.displacement);
        let bits = match operand.address_size {
            AddressSize::Bits16 => 16,
            AddressSize::Bits32 => 32,
            AddressSize::Bits64 => 64,
        };
        let expected = sum % (1 << bits);
        prop_assert_eq!(u128::from(operand.effective_address(&registers)), expected);
    }

    /// Outside 64-bit mode: an address only if every byte's offset is one that the segment has.
    #[test]
    fn every_byte_is_in_the_segment(
        limit in prop_oneof![0..64_u32, any::<u32>(), Just(u32::MAX)],
        big in any::<bool>(),
        down in any::<bool>(),
        near in -40..40_i64,
        size in 1..17_usize,
    ) {
        let kind = if down { EXPAND_DOWN } else { DATA };
        let access_rights = if big { kind | BIG } else { kind & !BIG };
        let registers = protected(SegmentRegister { base: 0, limit, access_rights });
        let offset = u64::from(limit).wrapping_add_signed(near) & 0xffff_ffff;
        let operand = MemoryOperand { displacement: offset, ..ABSOLUTE };
        let top = if big { 0xffff_ffff } else { 0xffff };
        let has = |byte: u64| match down {
            false => byte <= limit.into(),
            true => byte > limit.into() && byte <= top,
        };
        let all = (offset..offset + size as u64).all(has);
        let expected = if all { Ok(offset) } else { Err(GeneralProtection) };
        prop_assert_eq!(operand.linear_address(&registers, size, true), expected);
    }

    /// In 64-bit mode: an address only if every byte's address is canonical.
    #[test]
    fn every_byte_is_canonical(
        edge in prop::sample::select(vec![0, 1 << 47, !0 << 47, 1 << 56, !0 << 56]),
        near in -20..20_i64,
        size in 1..17_usize,
        width in prop::sample::select(vec![48_u32, 57]),
    ) {
        let registers = Registers { linear_address_width: width, ..long() };
        let first = u64::wrapping_add_signed(edge, near);
        let operand = MemoryOperand {
            displacement: first,
            address_size: AddressSize::Bits64,
            ..ABSOLUTE
        };
        let canonical = |byte: u64| {
            let high = byte >> (width - 1);
            high == 0 || high == u64::MAX >> (width - 1)
        };
        let all = (0..size as u64).all(|at| canonical(first.wrapping_add(at)));
        let expected = if all { Ok(first) } else { Err(GeneralProtection) };
        prop_assert_eq!(operand.linear_address(&registers, size, false), expected);
    }
}
