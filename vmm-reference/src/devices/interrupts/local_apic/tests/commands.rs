// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

use super::*;

const ITSELF: u32 = 1 << 18;
const ALL: u32 = 2 << 18;
const OTHERS: u32 = 3 << 18;
const LEVEL: u32 = 1 << 15;
const ASSERT: u32 = 1 << 14;
const INIT: Signals = Signals {
    nmi: false,
    init: true,
    start_up: None,
    smi: false,
};

#[test]
fn commands_reach_the_processor_itself_or_nobody() {
    let none = Signals::default();
    let nmi = Signals { nmi: true, ..none };
    let smi = Signals { smi: true, ..none };
    let start_up = Signals {
        start_up: Some(0x31),
        ..none
    };
    for (low, destination, pending, signals) in [
        (0x031, 0, Some(0x31), none),
        (0x131, 0, Some(0x31), none),
        (0x031, 1, None, none),
        (0x031, 0xff, Some(0x31), none),
        (0x031 | 1 << 11, 1, None, none),
        (0x031 | ITSELF, 1, Some(0x31), none),
        (0x031 | ALL, 1, Some(0x31), none),
        (0x031 | OTHERS, 0, None, none),
        (0x431, 0, None, nmi),
        (0x431 | ITSELF, 9, None, nmi),
        (0x400 | OTHERS, 0, None, none),
        (0x231, 0, None, smi),
        (0x500 | ASSERT, 0, None, INIT),
        (0x500 | LEVEL | ASSERT, 0, None, INIT),
        (0x500, 0, None, INIT),
        (0x500 | LEVEL, 0, None, none),
        (0x631, 0, None, start_up),
        (0x331, 0, None, none),
        (0x731, 0, None, none),
    ] {
        let case = format!("{low:#x} {destination:#x}");
        let mut apic = enabled();
        set(&mut apic, ICR_HIGH, destination << 24);
        assert_eq!(apic.pending(), None, "{case}");
        set(&mut apic, ICR_LOW, low | 1 << 12);
        assert_eq!(apic.pending(), pending, "{case}");
        assert_eq!(apic.take_signals(), signals, "{case}");
        assert_eq!(get(&mut apic, ICR_LOW), low, "{case}: it is idle");
        let mut apic = x2apic();
        let whole = u64::from(if destination == 0xff {
            u32::MAX
        } else {
            destination
        }) << 32;
        // In an x2APIC, the logical destination 1 is this one.
        if low & 1 << 11 == 0 {
            let written = apic.write_msr(0x830, whole | u64::from(low), Now::default());
            assert_eq!(written, Some(Ok(())), "{case}");
            assert_eq!(apic.pending(), pending, "{case}");
            assert_eq!(apic.take_signals(), signals, "{case}");
            let read = apic.read_msr(0x830, Now::default());
            assert_eq!(read, Some(Ok(whole | u64::from(low))), "{case}");
        }
    }
}

#[test]
fn the_trigger_mode_of_an_interrupt_to_itself_means_nothing() {
    let mut apic = enabled();
    set(&mut apic, ICR_LOW, 0x31 | LEVEL | ASSERT | ITSELF);
    assert_eq!(take_all(&mut apic), [0x31]);
    assert_eq!(apic.take_ended(), None);
}

#[test]
fn it_sends_while_disabled_by_software() {
    let mut apic = LocalApic::new(TSC_KHZ);
    set(&mut apic, ICR_LOW, 0x500 | ASSERT);
    assert_eq!(apic.take_signals(), INIT);
}
