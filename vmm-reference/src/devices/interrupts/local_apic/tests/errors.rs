// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

use super::*;

type Provoke = fn(&mut LocalApic);

/// The register after the guest has written it, as it has to.
fn errors(apic: &mut LocalApic) -> u32 {
    set(apic, ESR, 0);
    get(apic, ESR)
}

#[test]
fn errors_are_shown_after_a_write() {
    let cases: [(_, Provoke, _); 7] = [
        ("sent", |apic| set(apic, ICR_LOW, 0x0f), 1 << 5),
        (
            "sent to nobody",
            |apic| set(apic, ICR_LOW, 0xc_000f),
            1 << 5,
        ),
        (
            "received",
            |apic| assert!(apic.accept(&fixed(0x0f))),
            1 << 6,
        ),
        (
            "local",
            |apic| {
                set(apic, LVT_LINT0, 0x0f);
                apic.set_lint(Lint::Lint0, true);
            },
            1 << 6,
        ),
        ("no register read", |apic| _ = get(apic, 0x2f0), 1 << 7),
        ("no register written", |apic| set(apic, 0x3f0, 0), 1 << 7),
        ("none", |apic| set(apic, ICR_LOW, 0x400), 0),
    ];
    for (name, provoke, expected) in cases {
        let mut apic = enabled();
        provoke(&mut apic);
        assert_eq!(get(&mut apic, ESR), 0, "{name}");
        assert_eq!(errors(&mut apic), expected, "{name}");
        assert_eq!(apic.pending(), None, "{name}");
        assert_eq!(errors(&mut apic), 0, "{name}");
    }
}

#[test]
fn the_first_error_interrupts() {
    let mut apic = enabled();
    set(&mut apic, LVT_ERROR, 0x33);
    for _ in 0..2 {
        apic.accept(&fixed(1));
        assert_eq!(take_all(&mut apic), [0x33]);
        set(&mut apic, ICR_LOW, 1);
        assert!(take_all(&mut apic).is_empty());
        assert_eq!(errors(&mut apic), 1 << 5 | 1 << 6);
    }
}

#[test]
fn an_error_interrupt_with_an_illegal_vector_ends_there() {
    let mut apic = enabled();
    set(&mut apic, LVT_ERROR, 0x03);
    set(&mut apic, ICR_LOW, 1);
    assert_eq!(apic.pending(), None);
    assert_eq!(errors(&mut apic), 1 << 5 | 1 << 6);
}
