// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

use super::*;

fn rdmsr(apic: &mut LocalApic, index: u32) -> Result<u64, ApicMsrFault> {
    apic.read_msr(index, Now::default()).unwrap()
}

fn wrmsr(apic: &mut LocalApic, index: u32, value: u64) -> Result<(), ApicMsrFault> {
    apic.write_msr(index, value, Now::default()).unwrap()
}

#[test]
fn registers_are_msrs() {
    let fault = Err(ApicMsrFault);
    // What is read, and what may be set in what is written.
    for (index, read, permitted) in [
        (0x800, fault, None),
        (0x802, Ok(0), None),
        (0x803, Ok(0x0005_0014), None),
        (0x808, Ok(0), Some(0xff)),
        (0x809, fault, None),
        (0x80a, Ok(0), None),
        (0x80b, fault, Some(0)),
        (0x80c, fault, None),
        (0x80d, Ok(1), None),
        (0x80e, fault, None),
        (0x80f, Ok(0x1ff), Some(0x3ff)),
        (0x810, Ok(0), None),
        (0x81f, Ok(0), None),
        (0x820, Ok(0), None),
        (0x828, Ok(0), Some(0)),
        (0x82f, fault, None),
        (0x830, Ok(0), Some(0xffff_ffff_000c_dfff_u64)),
        (0x831, fault, None),
        (0x832, Ok(0x10000), Some(0x0007_50ff)),
        (0x833, Ok(0x10000), Some(0x0001_57ff)),
        (0x834, Ok(0x10000), Some(0x0001_57ff)),
        (0x835, Ok(0x700), Some(0x0001_f7ff)),
        (0x836, Ok(0x400), Some(0x0001_f7ff)),
        (0x837, Ok(0x10000), Some(0x0001_50ff)),
        (0x838, Ok(0), Some(0xffff_ffff)),
        (0x839, Ok(0), None),
        (0x83e, Ok(0), Some(0b1011)),
        (0x83f, fault, Some(0xff)),
        (0x840, fault, None),
        (0x8ff, fault, None),
    ] {
        assert_eq!(rdmsr(&mut x2apic(), index), read, "{index:#x}");
        for bit in 0..64 {
            let expected = match permitted {
                Some(bits) if bits >> bit & 1 == 1 => Ok(()),
                _ => Err(ApicMsrFault),
            };
            let written = wrmsr(&mut x2apic(), index, 1 << bit);
            assert_eq!(written, expected, "{index:#x} {bit}");
        }
        let written = wrmsr(&mut x2apic(), index, 0);
        assert_eq!(written.is_ok(), permitted.is_some(), "{index:#x}");
    }
}

#[test]
fn an_xapic_has_no_such_msrs() {
    let mut apic = enabled();
    for index in 0x800..=0x8ff {
        assert_eq!(rdmsr(&mut apic, index), Err(ApicMsrFault));
        assert_eq!(wrmsr(&mut apic, index, 0), Err(ApicMsrFault));
    }
    for index in [0, 0x1a, 0x6df, 0x6e1, 0x7ff, 0x900, u32::MAX] {
        assert_eq!(apic.read_msr(index, Now::default()), None);
        assert_eq!(apic.write_msr(index, 0, Now::default()), None);
    }
}

#[test]
fn it_interrupts_itself() {
    let mut apic = x2apic();
    assert_eq!(wrmsr(&mut apic, 0x83f, 0x45), Ok(()));
    assert_eq!(apic.pending(), Some(0x45));
    apic.acknowledge(0x45);
    assert_eq!(rdmsr(&mut apic, 0x812), Ok(1 << 5));
    assert_eq!(wrmsr(&mut apic, 0x80b, 0), Ok(()));
    assert_eq!(rdmsr(&mut apic, 0x812), Ok(0));
    // With an illegal vector it does not.
    assert_eq!(wrmsr(&mut apic, 0x83f, 0x0f), Ok(()));
    assert_eq!(wrmsr(&mut apic, 0x828, 0), Ok(()));
    assert_eq!(rdmsr(&mut apic, 0x828), Ok(1 << 5));
}

#[test]
fn registers_survive_the_change_to_it() {
    let mut apic = enabled();
    set(&mut apic, TPR, 0x20);
    apic.accept(&fixed(0x45));
    assert_eq!(wrmsr(&mut apic, 0x1b, X2APIC), Ok(()));
    assert_eq!(rdmsr(&mut apic, 0x808), Ok(0x20));
    assert_eq!(apic.pending(), Some(0x45));
    assert_eq!(wrmsr(&mut apic, 0x1b, 0xfee0_0900), Err(ApicMsrFault));
    assert_eq!(rdmsr(&mut apic, 0x1b), Ok(X2APIC));
}
