// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Routes that depend on bitmaps, masks and values, against models that look at one bit after the
//! other.

#![allow(clippy::unwrap_used, clippy::panic)] // A test that fails panics.

use std::collections::BTreeSet;

use nested_vmx::controls::{PrimaryControls as P, SecondaryControls as S};
use nested_vmx::exit_reason::ExitReason as R;
use nested_vmx::interruption::Event;
use nested_vmx::memory::L1Memory;
use nested_vmx::model::ModelMemory;
use nested_vmx::route::{Exit, L0Wants, Route, route};
use nested_vmx::vmcs::{Field, KVM_REVISION, Vmcs};
use proptest::prelude::*;

const FIRST: u64 = 0x1000;
const SECOND: u64 = 0x2000;

fn vmcs12(primary: P, secondary: S, fields: &[(Field, u64)]) -> Vmcs {
    let mut vmcs12 = Vmcs::new(KVM_REVISION);
    vmcs12.write(Field::CpuBasedVmExecControl, primary.bits().into());
    vmcs12.write(Field::SecondaryVmExecControl, secondary.bits().into());
    for (field, value) in fields {
        vmcs12.write(*field, *value);
    }
    vmcs12
}

fn goes_to_l1(exit: &Exit, vmcs12: &Vmcs, memory: &ModelMemory) -> bool {
    match route(exit, vmcs12, memory, &L0Wants::default()) {
        Route::L1 => true,
        Route::L0 => false,
        Route::Swallow => panic!("{exit:?}"),
    }
}

/// Memory with these bits set, counted from the bitmap at [`FIRST`] on.
fn with_bits(bits: impl IntoIterator<Item = u64>) -> ModelMemory {
    let memory = ModelMemory::new(0x3000);
    for bit in bits {
        let address = FIRST + bit / 8;
        let mut byte = [0];
        memory.read(address, &mut byte).unwrap();
        memory.write(address, &[byte[0] | 1 << (bit % 8)]).unwrap();
    }
    memory
}

/// Numbers near each other and near edges, so that accesses meet the bits that are set.
fn port() -> impl Strategy<Value = u64> {
    prop_oneof![0..16_u64, 0x7ff8..0x8008_u64, 0xfff8..0x1_0000_u64]
}

fn msr() -> impl Strategy<Value = u64> {
    let edges = [
        0,
        0x1ff8,
        0xbfff_fff8,
        0xc000_0000,
        0xc000_1ff8,
        0xffff_fff8,
    ];
    (prop::sample::select(edges.to_vec()), 0..16_u64).prop_map(|(edge, near)| edge + near)
}

fn bit_of_l1(mask: u64, shadow: u64, value: u64, bit: u32) -> bool {
    mask >> bit & 1 == 1 && shadow >> bit & 1 != value >> bit & 1
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn io_bitmaps(
        ports in prop::collection::btree_set(port(), 0..6),
        port in port(),
        size in prop::sample::select(vec![1, 2, 4_u64]),
        used in any::<bool>(),
        unconditional in any::<bool>(),
    ) {
        let mut primary = P::empty();
        primary.set(P::USE_IO_BITMAPS, used);
        primary.set(P::UNCONDITIONAL_IO_EXITING, unconditional);
        // The bitmaps are one behind the other: bit and port have the same number.
        let fields = [(Field::IoBitmapA, FIRST), (Field::IoBitmapB, SECOND)];
        let vmcs12 = vmcs12(primary, S::empty(), &fields);
        let exit = Exit {
            qualification: port << 16 | (size - 1),
            ..Exit::new(R::IO_INSTRUCTION)
        };
        let expected = match used {
            true => (port..port + size).any(|port| port > 0xffff || ports.contains(&port)),
            false => unconditional,
        };
        prop_assert_eq!(goes_to_l1(&exit, &vmcs12, &with_bits(ports)), expected);
    }

    #[test]
    fn msr_bitmap(
        read in prop::collection::btree_set(msr(), 0..6),
        written in prop::collection::btree_set(msr(), 0..6),
        msr in msr(),
        high in any::<u32>(),
        write in any::<bool>(),
        used in any::<bool>(),
    ) {
        // SDM volume 3, section 26.6.9: reads of low, of high MSRs; writes of low, of high ones.
        let ranges = [0..0x2000_u64, 0xc000_0000..0xc000_2000];
        let bits = |msrs: &BTreeSet<u64>, first: u64| -> Vec<u64> {
            let place = |msr: &u64| {
                let range = ranges.iter().position(|range| range.contains(msr))?;
                Some(first + range as u64 * 0x2000 + (msr - ranges[range].start))
            };
            msrs.iter().filter_map(place).collect()
        };
        let memory = with_bits([bits(&read, 0), bits(&written, 0x4000)].concat());
        let primary = if used { P::USE_MSR_BITMAPS } else { P::empty() };
        let vmcs12 = vmcs12(primary, S::empty(), &[(Field::MsrBitmap, FIRST)]);
        let mut exit = Exit::new(if write { R::WRMSR } else { R::RDMSR });
        exit.registers[1] = u64::from(high) << 32 | msr & 0xffff_ffff;
        let msr = msr & 0xffff_ffff;
        let asked = if write { &written } else { &read };
        let covered = ranges.iter().any(|range| range.contains(&msr));
        let expected = !used || !covered || asked.contains(&msr);
        prop_assert_eq!(goes_to_l1(&exit, &vmcs12, &memory), expected);
    }

    #[test]
    fn vmread_and_vmwrite_bitmaps(
        read in prop::collection::btree_set(0..0x20_u64, 0..6),
        written in prop::collection::btree_set(0..0x20_u64, 0..6),
        field in prop_oneof![8 => 0..0x20_u64, 1 => Just(0x8000_u64), 1 => Just(1_u64 << 32)],
        write in any::<bool>(),
        shadowing in any::<bool>(),
        is_64_bit in any::<bool>(),
        register in 0..16_u32,
    ) {
        let primary = P::ACTIVATE_SECONDARY_CONTROLS;
        let secondary = if shadowing { S::VMCS_SHADOWING } else { S::empty() };
        let fields = [(Field::VmreadBitmap, FIRST), (Field::VmwriteBitmap, SECOND)];
        let vmcs12 = vmcs12(primary, secondary, &fields);
        let memory = with_bits(read.iter().copied().chain(written.iter().map(|bit| 0x8000 + bit)));
        let mut exit = Exit::new(if write { R::VMWRITE } else { R::VMREAD });
        exit.instruction_information = register << 28;
        exit.registers[register as usize] = field;
        exit.is_64_bit = is_64_bit;
        let field = if is_64_bit { field } else { field & 0xffff_ffff };
        let asked = if write { &written } else { &read };
        let expected = !shadowing || field > 0x7fff || asked.contains(&field);
        prop_assert_eq!(goes_to_l1(&exit, &vmcs12, &memory), expected);
    }

    #[test]
    fn writes_to_cr0_and_cr4(
        mask in any::<u64>(),
        shadow in any::<u64>(),
        flip in prop_oneof![Just(0), (0..64_u32).prop_map(|bit| 1 << bit), any::<u64>()],
        register in 0..16_u64,
        cr4 in any::<bool>(),
        is_64_bit in any::<bool>(),
    ) {
        let fields = match cr4 {
            true => [(Field::Cr4GuestHostMask, mask), (Field::Cr4ReadShadow, shadow)],
            false => [(Field::Cr0GuestHostMask, mask), (Field::Cr0ReadShadow, shadow)],
        };
        let vmcs12 = vmcs12(P::empty(), S::empty(), &fields);
        let mut exit = Exit::new(R::CR_ACCESS);
        exit.qualification = register << 8 | if cr4 { 4 } else { 0 };
        exit.registers[register as usize] = shadow ^ flip;
        exit.is_64_bit = is_64_bit;
        // Outside 64-bit mode the operand has 32 bits.
        let width = if is_64_bit { 64 } else { 32 };
        let value = u128::from(shadow ^ flip) % (1 << width);
        let expected = (0..64).any(|bit| bit_of_l1(mask, shadow, value as u64, bit));
        prop_assert_eq!(goes_to_l1(&exit, &vmcs12, &ModelMemory::new(0)), expected);
    }

    #[test]
    fn clts_and_lmsw(mask in 0..32_u64, shadow in 0..32_u64, source in 0..32_u64) {
        let fields = [(Field::Cr0GuestHostMask, mask), (Field::Cr0ReadShadow, shadow)];
        let vmcs12 = vmcs12(P::empty(), S::empty(), &fields);
        let exits = |qualification| {
            let exit = Exit { qualification, ..Exit::new(R::CR_ACCESS) };
            goes_to_l1(&exit, &vmcs12, &ModelMemory::new(0))
        };
        // SDM volume 3, section 27.1.3: both depend on bits that they would change.
        prop_assert_eq!(exits(2 << 4), bit_of_l1(mask, shadow, 0, 3));
        let changes = (1..4).any(|bit| bit_of_l1(mask, shadow, source, bit));
        let sets_pe = source & 1 == 1 && bit_of_l1(mask, shadow, source, 0);
        prop_assert_eq!(exits(3 << 4 | source << 16), changes || sets_pe);
    }

    #[test]
    fn cr3_targets(
        targets in any::<[u64; 4]>(),
        count in 0..6_usize,
        chosen in prop::option::of(0..4_usize),
        other in any::<u64>(),
        is_64_bit in any::<bool>(),
    ) {
        let vmcs12 = vmcs12(P::CR3_LOAD_EXITING, S::empty(), &[
            (Field::Cr3TargetValue0, targets[0]),
            (Field::Cr3TargetValue1, targets[1]),
            (Field::Cr3TargetValue2, targets[2]),
            (Field::Cr3TargetValue3, targets[3]),
            (Field::Cr3TargetCount, count as u64),
        ]);
        let mut exit = Exit::new(R::CR_ACCESS);
        exit.qualification = 3;
        exit.is_64_bit = is_64_bit;
        exit.registers[0] = chosen.map_or(other, |chosen| targets[chosen]);
        let value = match is_64_bit {
            true => exit.registers[0],
            false => exit.registers[0] & 0xffff_ffff,
        };
        let expected = !targets[..count.min(4)].contains(&value);
        prop_assert_eq!(goes_to_l1(&exit, &vmcs12, &ModelMemory::new(0)), expected);
    }

    #[test]
    fn exception_bitmap(
        bitmap in any::<u32>(),
        vector in (0..32_u8).prop_filter("never L1's by itself", |vector| ![2, 20].contains(vector)),
        code in 0..32_u32,
        mask in 0..32_u32,
        matches in 0..32_u32,
    ) {
        let vmcs12 = vmcs12(P::empty(), S::empty(), &[
            (Field::ExceptionBitmap, bitmap.into()),
            (Field::PageFaultErrorCodeMask, mask.into()),
            (Field::PageFaultErrorCodeMatch, matches.into()),
        ]);
        let exit = Exit {
            event: Some(Event::exception(vector, Some(code))),
            ..Exit::new(R::EXCEPTION_OR_NMI)
        };
        let bit = bitmap >> vector & 1 == 1;
        // SDM volume 3, section 27.2: the bit is as it is where the filter matches, else inverted.
        let filtered = vector == 14 && code & mask != matches;
        let expected = bit != filtered;
        prop_assert_eq!(goes_to_l1(&exit, &vmcs12, &ModelMemory::new(0)), expected);
    }
}
