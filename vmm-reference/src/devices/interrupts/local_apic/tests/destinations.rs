// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

use super::*;

fn takes(apic: &mut LocalApic, destination: u32, logical: bool) -> bool {
    let message = InterruptMessage {
        destination,
        logical,
        ..fixed(0x31)
    };
    let addressed = apic.accept(&message);
    assert_eq!(!take_all(apic).is_empty(), addressed);
    addressed
}

#[test]
fn xapic_destinations() {
    const FLAT: u32 = u32::MAX;
    const CLUSTER: u32 = 0;
    for (format, own, destination, logical, expected) in [
        (FLAT, 0, 0, false, true),
        (FLAT, 0, 1, false, false),
        (FLAT, 0, 0xff, false, true),
        (FLAT, 0, 0x100, false, false),
        (FLAT, 0x01, 0x01, true, true),
        (FLAT, 0x01, 0x03, true, true),
        (FLAT, 0x01, 0x02, true, false),
        (FLAT, 0x01, 0x101, true, false),
        (FLAT, 0x80, 0xc0, true, true),
        (FLAT, 0x00, 0x01, true, false),
        (FLAT, 0x00, 0x00, true, false),
        (FLAT, 0x00, 0xff, true, true),
        (CLUSTER, 0x21, 0x21, true, true),
        (CLUSTER, 0x21, 0x23, true, true),
        (CLUSTER, 0x21, 0x22, true, false),
        (CLUSTER, 0x21, 0x11, true, false),
        (CLUSTER, 0x21, 0xff, true, true),
        (CLUSTER, 0x21, 0x121, true, false),
        (1 << 28, 0x21, 0x21, true, false),
    ] {
        let mut apic = enabled();
        set(&mut apic, DFR, format);
        set(&mut apic, LDR, own << 24);
        assert_eq!(
            takes(&mut apic, destination, logical),
            expected,
            "{format:#x} {own:#x} {destination:#x} {logical}"
        );
    }
}

#[test]
fn x2apic_destinations() {
    for (destination, logical, expected) in [
        (0, false, true),
        (1, false, false),
        (0xff, false, true),
        (u32::MAX, false, true),
        (0xff00_0000, false, false),
        (1, true, true),
        (3, true, true),
        (2, true, false),
        (0, true, false),
        (0x0001_0001, true, false),
        (u32::MAX, true, true),
    ] {
        let taken = takes(&mut x2apic(), destination, logical);
        assert_eq!(taken, expected, "{destination:#x} {logical}");
    }
    // What the processor itself sends has 32 bits, and the id 0xff is nobody.
    let mut apic = x2apic();
    let written = apic.write_msr(0x830, 0xff << 32 | 0x31, Now::default());
    assert_eq!((written, apic.pending()), (Some(Ok(())), None));
}
