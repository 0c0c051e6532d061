// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

use super::*;

#[test]
fn registers_are_as_firmware_leaves_them_and_keep_what_can_be_written() {
    for (offset, at_reset, after) in [
        (0x20, 0, 0),
        (0x30, 0x0005_0014, 0x0005_0014),
        (TPR, 0, 0xff),
        (LDR, 0, 0xff00_0000),
        (DFR, u32::MAX, u32::MAX),
        (SVR, 0xff, 0x3ff),
        (0x100, 0, 0),
        (0x190, 0, 0),
        (0x270, 0, 0),
        (ESR, 0, 0),
        (ICR_LOW, 0, 0x000c_cfff),
        (ICR_HIGH, 0, 0xff00_0000),
        (LVT_TIMER, MASKED, 0x0007_00ff),
        (0x330, MASKED, 0x0001_07ff),
        (0x340, MASKED, 0x0001_07ff),
        (LVT_LINT0, 0x700, 0x0001_a7ff),
        (LVT_LINT1, 0x400, 0x0001_a7ff),
        (LVT_ERROR, MASKED, 0x0001_00ff),
        (INITIAL, 0, u32::MAX),
        (CURRENT, 0, 0),
        (DIVIDE, 0, 0xb),
    ] {
        let mut apic = LocalApic::new(TSC_KHZ);
        assert_eq!(get(&mut apic, offset), at_reset, "{offset:#x}");
        set(&mut apic, offset, u32::MAX);
        let (expected, actual) = (after, get(&mut apic, offset));
        assert_eq!(actual, expected, "{offset:#x}");
    }
    let mut apic = LocalApic::new(TSC_KHZ);
    set(&mut apic, DFR, 0);
    assert_eq!(get(&mut apic, DFR), 0x0fff_ffff);
}

#[test]
fn accesses_of_other_sizes_are_answered() {
    let mut apic = enabled();
    set(&mut apic, TPR, 0x20);
    for (offset, length, expected) in [
        (0x30, 1, vec![0x14]),
        (0x32, 2, vec![5, 0]),
        (0x34, 2, vec![0, 0]),
        (0x7c, 8, vec![0, 0, 0, 0, 0x20, 0, 0, 0]),
        (0xffe, 4, vec![0; 4]),
        (u64::MAX, 4, vec![0; 4]),
    ] {
        let mut data = vec![0xaa; length];
        apic.read(offset, &mut data, Now::default());
        assert_eq!(data, expected, "{offset:#x}");
    }
    for (offset, data) in [(TPR, &[0x30][..]), (TPR + 1, &[0x30; 4]), (TPR, &[])] {
        apic.write(offset, data, Now::default());
        assert_eq!(get(&mut apic, TPR), 0x20, "{offset:#x} {data:x?}");
    }
    apic.write(TPR, &[0x30, 0, 0, 0, 0, 0, 0, 0], Now::default());
    assert_eq!(get(&mut apic, TPR), 0x30);
}

#[test]
fn software_disables_it_and_masks_the_table() {
    let mut apic = enabled();
    set(&mut apic, LVT_ERROR, 0x33);
    set(&mut apic, SVR, 0xff);
    assert_eq!(get(&mut apic, LVT_ERROR), 0x33 | MASKED);
    assert_eq!(get(&mut apic, LVT_LINT0), 0x700 | MASKED);
    assert!(!apic.takes_pic());
    set(&mut apic, LVT_ERROR, 0x33);
    assert_eq!(get(&mut apic, LVT_ERROR), 0x33 | MASKED);
    set(&mut apic, SVR, 0x1ff);
    set(&mut apic, LVT_ERROR, 0x33);
    assert_eq!(get(&mut apic, LVT_ERROR), 0x33);
}

#[test]
fn the_page_follows_the_base() {
    let mut apic = enabled();
    for (base, page) in [
        (0xfee0_0900, Some(0xfee0_0000)),
        (0x1234_5900, Some(0x1234_5000)),
        (0x1234_5d00, None),
        (0xfee0_0100, None),
        (0xfee0_0900, Some(0xfee0_0000)),
    ] {
        assert_eq!(apic.write_msr(0x1b, base, Now::default()), Some(Ok(())));
        assert_eq!(apic.read_msr(0x1b, Now::default()), Some(Ok(base)));
        assert_eq!(apic.page(), page);
        if page.is_none() {
            set(&mut apic, TPR, 0x20);
            assert_eq!(apic.cr8(), 0);
            assert_eq!(get(&mut apic, TPR), u32::MAX);
        }
    }
    assert_eq!(get(&mut apic, SVR), 0xff, "it forgot all when it was off");
}

#[test]
fn init_keeps_the_base() {
    let mut apic = x2apic();
    apic.accept(&fixed(0x31));
    apic.init();
    assert_eq!(apic.read_msr(0x1b, Now::default()), Some(Ok(X2APIC)));
    assert_eq!(apic.read_msr(0x80f, Now::default()), Some(Ok(0xff)));
    assert_eq!(apic.read_msr(0x821, Now::default()), Some(Ok(0)));
    assert_eq!(
        apic.read_msr(0x835, Now::default()),
        Some(Ok(MASKED.into()))
    );
}
