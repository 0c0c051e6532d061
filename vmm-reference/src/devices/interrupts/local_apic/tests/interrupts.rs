// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

use super::*;

#[test]
fn a_vector_goes_from_requested_to_in_service_to_its_end() {
    let mut apic = enabled();
    assert_eq!(apic.pending(), None);
    assert!(apic.accept(&fixed(0x45)));
    assert_eq!(get(&mut apic, 0x220), 1 << 5);
    assert_eq!(apic.pending(), Some(0x45));
    // Not one that is requested.
    apic.acknowledge(0x46);
    assert_eq!(get(&mut apic, PPR), 0);
    apic.acknowledge(0x45);
    assert_eq!((get(&mut apic, 0x220), get(&mut apic, 0x120)), (0, 1 << 5));
    assert_eq!(get(&mut apic, PPR), 0x40);
    assert!(apic.accept(&fixed(0x45)));
    assert_eq!(apic.pending(), None);
    set(&mut apic, EOI, 0);
    assert_eq!(apic.pending(), Some(0x45));
    assert_eq!(apic.take_ended(), None);
}

#[test]
fn priorities_come_from_the_task_and_what_is_in_service() {
    for (task, in_service, requested, processor, arbitration) in [
        (0x00, None, None, 0x00, 0x00),
        (0x25, None, None, 0x25, 0x25),
        (0x25, Some(0x31), None, 0x30, 0x30),
        (0x35, Some(0x31), None, 0x35, 0x30),
        (0x45, Some(0x31), None, 0x45, 0x45),
        (0x25, None, Some(0x41), 0x25, 0x40),
        (0x45, None, Some(0x41), 0x45, 0x45),
    ] {
        let mut apic = enabled();
        if let Some(vector) = in_service {
            apic.accept(&fixed(vector));
            apic.acknowledge(vector);
        }
        if let Some(vector) = requested {
            apic.accept(&fixed(vector));
        }
        set(&mut apic, TPR, task);
        let case = format!("{task:#x} {in_service:x?} {requested:x?}");
        assert_eq!(get(&mut apic, PPR), processor, "{case}");
        assert_eq!(get(&mut apic, 0x90), arbitration, "{case}");
        assert_eq!(apic.cr8(), u64::from(task >> 4));
    }
}

#[test]
fn cr8_is_the_task_priority() {
    let mut apic = enabled();
    apic.accept(&fixed(0x45));
    for (cr8, pending) in [(4, None), (3, Some(0x45)), (0xf, None)] {
        apic.set_cr8(cr8);
        assert_eq!(apic.cr8(), cr8);
        assert_eq!(u64::from(get(&mut apic, TPR)), cr8 << 4);
        assert_eq!(apic.pending(), pending, "{cr8}");
    }
}

#[test]
fn all_level_triggered_ends_are_told() {
    let mut apic = enabled();
    for (vector, level_triggered) in [(0x31, true), (0x41, false), (0x51, true), (0x61, true)] {
        apic.accept(&InterruptMessage {
            level_triggered,
            ..fixed(vector)
        });
    }
    assert_eq!(get(&mut apic, 0x1a0), 1 << 17);
    assert_eq!(take_all(&mut apic), [0x61, 0x51, 0x41, 0x31]);
    let ended: Vec<u8> = std::iter::from_fn(|| apic.take_ended()).collect();
    assert_eq!(ended, [0x61, 0x51, 0x31]);
    // The same vector as an edge.
    apic.accept(&fixed(0x31));
    take_all(&mut apic);
    assert_eq!(apic.take_ended(), None);
}

#[test]
fn messages_without_a_vector_become_signals() {
    for (mode, expected) in [
        (
            DeliveryMode::Nmi,
            Signals {
                nmi: true,
                ..Signals::default()
            },
        ),
        (
            DeliveryMode::Init,
            Signals {
                init: true,
                ..Signals::default()
            },
        ),
        (
            DeliveryMode::Smi,
            Signals {
                smi: true,
                ..Signals::default()
            },
        ),
        (
            DeliveryMode::StartUp,
            Signals {
                start_up: Some(9),
                ..Signals::default()
            },
        ),
        (DeliveryMode::ExtInt, Signals::default()),
    ] {
        // It is still disabled by software.
        let mut apic = LocalApic::new(TSC_KHZ);
        assert!(apic.accept(&InterruptMessage { mode, ..fixed(9) }));
        assert_eq!(apic.take_signals(), expected);
        assert_eq!(apic.take_signals(), Signals::default());
        apic.write_msr(0x1b, 0xfee0_0100, Now::default());
        assert!(!apic.accept(&InterruptMessage { mode, ..fixed(9) }));
        assert_eq!(apic.take_signals(), Signals::default());
    }
}

#[test]
fn a_disabled_one_takes_no_interrupts() {
    let mut apic = LocalApic::new(TSC_KHZ);
    assert!(apic.accept(&fixed(0x31)));
    set(&mut apic, SVR, 0x1ff);
    assert_eq!(apic.pending(), None);
    // What was requested is kept.
    apic.accept(&fixed(0x31));
    set(&mut apic, SVR, 0xff);
    assert_eq!(apic.pending(), None);
    set(&mut apic, SVR, 0x1ff);
    assert_eq!(apic.pending(), Some(0x31));
}
