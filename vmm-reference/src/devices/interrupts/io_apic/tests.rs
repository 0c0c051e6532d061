// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

use proptest::prelude::*;

use super::*;
use crate::devices::interrupts::DeliveryMode;

const LEVEL: u32 = 1 << 15;
const MASKED: u32 = 1 << 16;
const REMOTE_IRR: u32 = 1 << 14;

fn read(apic: &mut IoApic, register: u8) -> u32 {
    apic.write(0, &[register]);
    let mut data = [0; 4];
    apic.read(0x10, &mut data);
    u32::from_le_bytes(data)
}

fn write(apic: &mut IoApic, register: u8, value: u32) {
    apic.write(0, &u32::from(register).to_le_bytes());
    apic.write(0x10, &value.to_le_bytes());
}

/// With one entry of the table.
fn with_entry(line: u8, low: u32, high: u32) -> IoApic {
    let mut apic = IoApic::new();
    write(&mut apic, 0x11 + 2 * line, high);
    write(&mut apic, 0x10 + 2 * line, low);
    apic
}

fn vectors(apic: &mut IoApic) -> Vec<u8> {
    std::iter::from_fn(|| apic.take_message())
        .map(|message| message.vector)
        .collect()
}

#[test]
fn registers_keep_what_can_be_written() {
    let mut apic = IoApic::new();
    for (register, at_reset, after) in [
        (0x00, 0, 0x0f00_0000),
        (0x01, 0x0017_0011, 0x0017_0011),
        (0x02, 0x0f00_0000, 0x0f00_0000),
        (0x03, 0, 0),
        (0x10, MASKED, 0x0001_afff),
        (0x11, 0, 0xff00_0000),
        (0x3e, MASKED, 0x0001_afff),
        (0x3f, 0, 0xff00_0000),
        (0x40, 0, 0),
        (0xff, 0, 0),
    ] {
        assert_eq!(read(&mut apic, register), at_reset, "{register:#x}");
        write(&mut apic, register, u32::MAX);
        assert_eq!(read(&mut apic, register), after, "{register:#x}");
    }
    let mut select = [0];
    apic.read(0, &mut select);
    assert_eq!(select, [0xff]);
}

#[test]
fn a_message_says_what_the_table_does() {
    for (low, mode) in [
        (0x0031, DeliveryMode::Fixed),
        (0x0131, DeliveryMode::LowestPriority),
        (0x0231, DeliveryMode::Smi),
        (0x0431, DeliveryMode::Nmi),
        (0x0531, DeliveryMode::Init),
        (0x0731, DeliveryMode::ExtInt),
    ] {
        for (more, logical, level) in [(0, false, 0), (1 << 11, true, 0), (LEVEL, false, LEVEL)] {
            let mut apic = with_entry(4, low | more, 0x5a00_0000);
            apic.set_line(4, true);
            let expected = InterruptMessage {
                destination: 0x5a,
                logical,
                mode,
                vector: 0x31,
                level_triggered: level != 0 && mode.has_vector(),
            };
            assert_eq!(apic.take_message(), Some(expected), "{low:#x} {more:#x}");
            assert_eq!(apic.take_message(), None);
        }
    }
    // The reserved modes.
    for low in [0x0331, 0x0631] {
        let mut apic = with_entry(4, low, 0);
        apic.set_line(4, true);
        assert_eq!(apic.take_message(), None, "{low:#x}");
    }
}

#[test]
fn an_edge_sends_when_it_rises() {
    let mut apic = with_entry(1, 0x31, 0);
    for (high, sent) in [(false, false), (true, true), (true, false), (false, false)] {
        apic.set_line(1, high);
        assert_eq!(!vectors(&mut apic).is_empty(), sent);
    }
    // Not taken in time: there is one.
    for high in [true, false, true, false] {
        apic.set_line(1, high);
    }
    assert_eq!(vectors(&mut apic), [0x31]);
    // A masked one is lost.
    write(&mut apic, 0x12, 0x31 | MASKED);
    apic.set_line(1, true);
    write(&mut apic, 0x12, 0x31);
    assert!(vectors(&mut apic).is_empty());
}

#[test]
fn a_level_sends_until_it_is_low() {
    let mut apic = with_entry(23, 0x31 | LEVEL, 0);
    apic.set_line(23, true);
    assert_eq!(vectors(&mut apic), [0x31]);
    assert_eq!(read(&mut apic, 0x3e), 0x31 | LEVEL | REMOTE_IRR);
    apic.set_line(23, false);
    apic.set_line(23, true);
    apic.end(0x32);
    assert!(vectors(&mut apic).is_empty(), "it has not ended");
    apic.end(0x31);
    assert_eq!(vectors(&mut apic), [0x31], "and is still high");
    apic.set_line(23, false);
    apic.end(0x31);
    assert!(vectors(&mut apic).is_empty());
    assert_eq!(read(&mut apic, 0x3e), 0x31 | LEVEL);
    // A masked one waits.
    write(&mut apic, 0x3e, 0x31 | LEVEL | MASKED);
    apic.set_line(23, true);
    assert!(vectors(&mut apic).is_empty());
    write(&mut apic, 0x3e, 0x31 | LEVEL);
    assert_eq!(vectors(&mut apic), [0x31]);
    // An end by force, and it sends once more.
    write(&mut apic, 0x3e, 0x31 | MASKED);
    assert_eq!(read(&mut apic, 0x3e), 0x31 | MASKED);
    write(&mut apic, 0x3e, 0x31 | LEVEL);
    assert_eq!(vectors(&mut apic), [0x31]);
}

#[test]
fn lines_that_share_a_vector_end_together() {
    let mut apic = with_entry(3, 0x31 | LEVEL, 0);
    write(&mut apic, 0x18, 0x31 | LEVEL);
    apic.set_line(3, true);
    apic.set_line(4, true);
    assert_eq!(vectors(&mut apic), [0x31, 0x31]);
    apic.set_line(3, false);
    apic.end(0x31);
    assert_eq!(vectors(&mut apic), [0x31]);
}

#[derive(Clone, Debug)]
enum Step {
    Read(u64, usize),
    Write(u64, Vec<u8>),
    Select(u8, u32),
    Line(u8, bool),
    End(u8),
    Take,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (any::<u64>(), 0..20usize).prop_map(|(offset, length)| Step::Read(offset, length)),
        (0..0x30u64, 0..20usize).prop_map(|(offset, length)| Step::Read(offset, length)),
        (0..0x30u64, prop::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(offset, data)| Step::Write(offset, data)),
        (0..0x44u8, any::<u32>()).prop_map(|(register, value)| Step::Select(register, value)),
        (0..26u8, any::<bool>()).prop_map(|(line, high)| Step::Line(line, high)),
        any::<u8>().prop_map(Step::End),
        Just(Step::Take),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn whatever_happens_there_are_few_messages(steps in steps()) {
        let mut apic = IoApic::new();
        for step in steps {
            match step {
                Step::Read(offset, length) => apic.read(offset, &mut vec![0; length]),
                Step::Write(offset, data) => apic.write(offset, &data),
                Step::Select(register, value) => write(&mut apic, register, value),
                Step::Line(line, high) => apic.set_line(line, high),
                Step::End(vector) => apic.end(vector),
                Step::Take => {
                    let most = usize::from(IoApic::LINES);
                    prop_assert!(vectors(&mut apic).len() <= most);
                    prop_assert_eq!(apic.take_message(), None);
                }
            }
            for line in 0..IoApic::LINES {
                let low = read(&mut apic.clone(), 0x10 + 2 * line);
                prop_assert!(low & REMOTE_IRR == 0 || low & LEVEL != 0);
                prop_assert_eq!(low >> 17, 0);
            }
        }
    }
}
