// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

use super::*;

#[test]
fn pins_do_what_the_table_says_when_they_rise() {
    let none = Signals::default();
    let nmi = Signals { nmi: true, ..none };
    let smi = Signals { smi: true, ..none };
    let init = Signals { init: true, ..none };
    for (entry, pending, signals) in [
        (0x031, Some(0x31), none),
        (0x031 | MASKED, None, none),
        (0x131, None, none),
        (0x231, None, smi),
        (0x331, None, none),
        (0x431, None, nmi),
        (0x431 | MASKED, None, none),
        (0x531, None, init),
        (0x631, None, none),
        (0x731, None, none),
    ] {
        for (pin, offset) in [(Lint::Lint0, LVT_LINT0), (Lint::Lint1, LVT_LINT1)] {
            let mut apic = enabled();
            set(&mut apic, offset, entry);
            apic.set_lint(pin, true);
            assert_eq!(apic.pending(), pending, "{entry:#x} {pin:?}");
            assert_eq!(apic.take_signals(), signals, "{entry:#x} {pin:?}");
            take_all(&mut apic);
            apic.set_lint(pin, true);
            apic.set_lint(pin, false);
            assert_eq!(apic.pending(), None, "it has not risen again");
            assert_eq!(apic.take_signals(), none, "it has not risen again");
        }
    }
}

#[test]
fn the_8259_gets_through_without_an_apic_or_by_lint0() {
    let mut apic = LocalApic::new(TSC_KHZ);
    assert!(apic.takes_pic(), "as firmware leaves it");
    set(&mut apic, SVR, 0x1ff);
    for (entry, expected) in [
        (0x700, true),
        (0x700 | MASKED, false),
        (0x031, false),
        (0x400, false),
    ] {
        set(&mut apic, LVT_LINT0, entry);
        assert_eq!(apic.takes_pic(), expected, "{entry:#x}");
    }
    apic.write_msr(0x1b, 0xfee0_0100, Now::default());
    assert!(apic.takes_pic());
    apic.set_lint(Lint::Lint1, true);
    apic.set_lint(Lint::Lint0, true);
    assert_eq!(
        apic.take_signals(),
        Signals {
            nmi: true,
            ..Signals::default()
        }
    );
}
