// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whatever a guest and its devices do.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Read(u64, usize),
    Write(u64, Vec<u8>),
    Register(u64, u32),
    ReadMsr(u32),
    WriteMsr(u32, u64),
    Cr8(u64),
    Acknowledge(u8),
    AcknowledgePending,
    Accept(u32, bool, u32, u8, bool),
    Lint(Lint, bool),
    Init,
    Pass(Now),
}

fn now() -> impl Strategy<Value = Now> {
    let count = || prop_oneof![any::<u64>(), 0..10_000u64];
    (count(), count()).prop_map(|(nanoseconds, tsc)| Now { nanoseconds, tsc })
}

fn register() -> impl Strategy<Value = Step> {
    let value = prop_oneof![
        any::<u32>(),
        0..0x200u32,
        (0..8u32).prop_map(|mode| mode << 16 | 0x41)
    ];
    (0..0x42u64, value).prop_map(|(slot, value)| Step::Register(slot << 4, value))
}

fn msr() -> impl Strategy<Value = Step> {
    let index = prop_oneof![Just(0x1b), Just(0x6e0), 0x800..0x842u32, any::<u32>()];
    let value = prop_oneof![
        any::<u64>(),
        0..0x800u64,
        prop::sample::select(vec![0xfee0_0900, X2APIC, 0xfee0_0100]),
    ];
    (index, value).prop_map(|(index, value)| Step::WriteMsr(index, value))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let offset = || prop_oneof![any::<u64>(), 0..0x1010u64];
    let step = prop_oneof![
        1 => (offset(), 0..20usize).prop_map(|(offset, length)| Step::Read(offset, length)),
        1 => (offset(), prop::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(offset, data)| Step::Write(offset, data)),
        4 => register(),
        1 => (0x800..0x900u32).prop_map(Step::ReadMsr),
        2 => msr(),
        1 => any::<u64>().prop_map(Step::Cr8),
        1 => any::<u8>().prop_map(Step::Acknowledge),
        1 => Just(Step::AcknowledgePending),
        4 => (prop_oneof![0..2u32, any::<u32>()], any::<bool>(), any::<u32>(), any::<u8>(), any::<bool>())
            .prop_map(|(destination, logical, mode, vector, level)| {
                Step::Accept(destination, logical, mode, vector, level)
            }),
        1 => (prop::sample::select(vec![Lint::Lint0, Lint::Lint1]), any::<bool>())
            .prop_map(|(pin, high)| Step::Lint(pin, high)),
        1 => Just(Step::Init),
        2 => now().prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 0..100)
}

fn take(apic: &mut LocalApic, step: Step, now: &mut Now) {
    match step {
        Step::Read(offset, length) => apic.read(offset, &mut vec![0; length], *now),
        Step::Write(offset, data) => apic.write(offset, &data, *now),
        Step::Register(offset, value) => write(apic, offset, value, *now),
        Step::ReadMsr(index) => _ = apic.read_msr(index, *now),
        Step::WriteMsr(index, value) => _ = apic.write_msr(index, value, *now),
        Step::Cr8(value) => apic.set_cr8(value),
        Step::Acknowledge(vector) => apic.acknowledge(vector),
        Step::AcknowledgePending => {
            if let Some(vector) = apic.pending() {
                apic.acknowledge(vector);
            }
        }
        Step::Accept(destination, logical, mode, vector, level_triggered) => {
            if let Some(mode) = DeliveryMode::of_word(mode) {
                apic.accept(&InterruptMessage {
                    destination,
                    logical,
                    mode,
                    vector,
                    level_triggered,
                });
            }
        }
        Step::Lint(pin, high) => apic.set_lint(pin, high),
        Step::Init => apic.init(),
        Step::Pass(moment) => {
            *now = moment;
            apic.advance(moment);
        }
    }
}

proptest! {
    #[test]
    fn it_holds_together(khz in any::<u32>(), steps in steps()) {
        let mut apic = LocalApic::new(khz);
        let mut now = Now::default();
        set(&mut apic, SVR, 0x1ff);
        for step in steps {
            take(&mut apic, step, &mut now);
            if let Some(vector) = apic.pending() {
                prop_assert!(vector >> 4 > apic.processor_priority() >> 4);
                prop_assert!(apic.read_msr(0x1b, now).is_some());
            }
            prop_assert!(apic.requested.highest().is_none_or(|vector| vector >= FIRST_VECTOR));
            apic.advance(now);
            // What was due is over, if time has not gone back.
            if let Some(next) = apic.deadline(now) {
                prop_assert!(next > now.nanoseconds || next == u64::MAX);
            }
            prop_assert!(apic.cr8() < 16);
            prop_assert_eq!(apic.page().is_none(), {
                let base = apic.base.value();
                base & 0xc00 != 0x800
            });
        }
        // All there is to take ends.
        prop_assert!(std::iter::from_fn(|| apic.take_ended()).take(257).count() <= 256);
        prop_assert!(take_all(&mut apic).len() <= 256);
        apic.take_signals();
        prop_assert_eq!(apic.take_signals(), Signals::default());
    }
}
