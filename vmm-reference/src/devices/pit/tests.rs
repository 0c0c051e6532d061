// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

use proptest::prelude::*;

use super::clock::nanoseconds_of;
use super::counter::Counter;
use super::mode::Mode;
use super::*;

fn at(tick: u64) -> u64 {
    nanoseconds_of(tick).unwrap()
}

/// A timer whose channel 0 was given a control word at tick 0, and the bytes of a count.
fn programmed(control: u8, count: &[u8]) -> Pit {
    let mut pit = Pit::new();
    pit.write(CONTROL, control, 0);
    for &byte in count {
        pit.write(CHANNEL_0, byte, 0);
    }
    pit
}

fn read_u16(pit: &mut Pit, port: u16, tick: u64) -> u16 {
    let low = pit.read(port, at(tick));
    u16::from_le_bytes([low, pit.read(port, at(tick))])
}

/// Channel 0's output at ticks 0, 1, ...
fn outputs(pit: &Pit, ticks: usize) -> String {
    (0..)
        .take(ticks)
        .map(|tick| if pit.output(at(tick)) { '1' } else { '0' })
        .collect()
}

#[test]
fn outputs_of_the_modes() {
    for (control, count, expected) in [
        (0x10, 4, "0000011111"),
        // Nothing triggers channel 0.
        (0x12, 4, "1111111111"),
        (0x1a, 4, "1111111111"),
        (0x14, 3, "1110110110"),
        (0x1c, 3, "1110110110"),
        (0x14, 1, "1000000000"),
        (0x16, 4, "1110011001"),
        (0x16, 5, "11110011100111"),
        (0x1e, 2, "1101010101"),
        (0x16, 1, "1111111111"),
        (0x18, 3, "1111011111"),
    ] {
        let pit = programmed(control, &[count]);
        let seen = outputs(&pit, expected.len());
        assert_eq!(seen, expected, "{control:#x} {count}");
    }
}

#[test]
fn counts_of_the_modes() {
    for (control, count, expected) in [
        (0x10, 3, [0, 3, 2, 1, 0, 0xff, 0xfe]),
        (0x11, 3, [0, 3, 2, 1, 0, 0x99, 0x98]),
        (0x14, 3, [0, 3, 2, 1, 3, 2, 1]),
        (0x16, 4, [0, 4, 2, 4, 2, 4, 2]),
        (0x16, 5, [0, 4, 2, 0, 4, 2, 4]),
        (0x18, 3, [0, 3, 2, 1, 0, 0xff, 0xfe]),
        (0x15, 0x11, [0, 0x11, 0x10, 0x09, 0x08, 0x07, 0x06]),
    ] {
        let mut pit = programmed(control, &[count]);
        let seen: Vec<_> = (0..7).map(|tick| pit.read(CHANNEL_0, at(tick))).collect();
        assert_eq!(seen, expected, "{control:#x} {count:#x}");
    }
}

#[test]
fn the_greatest_count_is_0() {
    for (control, ticks) in [
        (0x30, 65_536),
        (0x31, 10_000),
        (0x34, 65_536),
        (0x37, 10_000),
    ] {
        let pit = programmed(control, &[0, 0]);
        assert_eq!(pit.deadline(0), Some(at(ticks + 1)), "{control:#x}");
    }
}

/// What is latched at tick 1, and what goes on at tick 9, eight clocks later.
#[test]
fn bytes() {
    for (control, written, latched, later) in [
        (0x14, &[0x34][..], &[0x34][..], &[0x2c][..]),
        (0x24, &[0x12], &[0x12], &[0x11]),
        (0x34, &[0x34, 0x12], &[0x34, 0x12], &[0x2c, 0x12]),
        (0x35, &[0x34, 0x12], &[0x34, 0x12], &[0x26, 0x12]),
    ] {
        let mut pit = programmed(control, written);
        pit.write(CONTROL, 0, at(1));
        for expected in [latched, later, later] {
            let seen: Vec<_> = expected
                .iter()
                .map(|_| pit.read(CHANNEL_0, at(9)))
                .collect();
            assert_eq!(seen, expected, "{control:#x}");
        }
    }
}

/// An earlier time counts as the last.
#[test]
fn time_does_not_go_back() {
    let mut pit = programmed(0x14, &[0x34]);
    assert_eq!(pit.read(CHANNEL_0, at(9)), 0x2c);
    assert_eq!(pit.read(CHANNEL_0, at(2)), 0x2c);
    assert_eq!(pit.deadline(0), Some(at(0x35)));
}

#[test]
fn the_first_latch_holds() {
    let mut pit = programmed(0x34, &[0, 1]);
    pit.write(CONTROL, 0, at(1));
    pit.write(CONTROL, 0, at(5));
    assert_eq!(read_u16(&mut pit, CHANNEL_0, 9), 0x100);
    assert_eq!(read_u16(&mut pit, CHANNEL_0, 9), 0xf8);
    // A control word drops it.
    pit.write(CONTROL, 0, at(10));
    pit.write(CONTROL, 0x34, at(10));
    assert_eq!(read_u16(&mut pit, CHANNEL_0, 11), 0);
}

#[test]
fn read_back() {
    let mut pit = Pit::new();
    pit.write(CONTROL, 0x30, 0);
    pit.write(CONTROL, 0xe2, 0);
    assert_eq!(pit.read(CHANNEL_0, 0), 0x70, "low, and nothing loaded");
    pit.write(CHANNEL_0, 4, 0);
    pit.write(CHANNEL_0, 0, 0);
    pit.write(CONTROL, 0xe2, 0);
    assert_eq!(pit.read(CHANNEL_0, 0), 0x70);
    // Both: the status comes first.
    pit.write(CONTROL, 0xc2, at(1));
    pit.write(CONTROL, 0xc2, at(7));
    assert_eq!(pit.read(CHANNEL_0, at(8)), 0x30);
    assert_eq!(read_u16(&mut pit, CHANNEL_0, 8), 4);
    pit.write(CONTROL, 0xe2, at(8));
    assert_eq!(pit.read(CHANNEL_0, at(8)), 0xb0);
    // A count alone, of two channels, and of one that is not asked.
    pit.write(CONTROL, 0x94, at(8));
    pit.write(CHANNEL_2, 9, at(8));
    pit.write(CONTROL, 0xda, at(10));
    assert_eq!(read_u16(&mut pit, CHANNEL_0, 20), 0xfffb);
    assert_eq!(pit.read(CHANNEL_2, at(20)), 9);
    assert_eq!(read_u16(&mut pit, CHANNEL_1, 20), 0);
    assert_eq!(pit.read(CONTROL, at(20)), 0xff);
}

#[test]
fn a_new_count() {
    for (control, count, tick, new, expected) in [
        // Stops, is low at once and begins again.
        (0x10, 4, 2, 3, "0000001111"),
        (0x10, 2, 4, 3, "0001000011"),
        // At the end of the period.
        (0x14, 4, 2, 2, "111101010101"),
        // At the end of the half.
        (0x16, 8, 2, 4, "1111100110011"),
        (0x16, 8, 6, 4, "1111100001100"),
        // At once.
        (0x18, 4, 2, 3, "1111110111"),
    ] {
        let mut pit = programmed(control, &[count]);
        let mut seen = String::new();
        for now in 0..expected.len() {
            let now = u64::try_from(now).unwrap();
            if now == tick {
                pit.write(CHANNEL_0, new, at(now));
            }
            seen.push(if pit.output(at(now)) { '1' } else { '0' });
        }
        assert_eq!(seen, expected, "{control:#x} {count} {new}");
    }
}

#[test]
fn half_a_count_stops_mode_0() {
    let mut pit = programmed(0x30, &[4, 0]);
    pit.write(CHANNEL_0, 2, at(3));
    assert_eq!((pit.output(at(50)), pit.deadline(at(3))), (false, None));
    pit.write(CHANNEL_0, 0, at(60));
    assert_eq!(pit.deadline(at(60)), Some(at(63)));
}

#[test]
fn edges_and_deadlines() {
    for (control, count, edges, deadlines) in [
        (0x10, 10, 1, [Some(11), None, None]),
        (0x14, 10, 10, [Some(11), Some(21), Some(31)]),
        (0x16, 10, 10, [Some(11), Some(21), Some(31)]),
        (0x18, 10, 1, [Some(12), None, None]),
        (0x12, 10, 0, [None; 3]),
        (0x14, 1, 0, [None; 3]),
        (0x16, 1, 0, [None; 3]),
    ] {
        let mut pit = programmed(control, &[count]);
        let mut now = 0;
        for expected in deadlines {
            let deadline = pit.deadline(now);
            assert_eq!(deadline, expected.map(at), "{control:#x} {count}");
            now = deadline.unwrap_or(now);
        }
        assert_eq!(pit.take_edges(at(101)), edges, "{control:#x} {count}");
        assert_eq!(pit.take_edges(at(101)), 0);
    }
}

#[test]
fn nothing_happens_before_a_count_is_written() {
    let mut pit = Pit::new();
    assert_eq!((pit.output(0), pit.deadline(0)), (true, None));
    pit.write(CONTROL, 0x34, 0);
    pit.write(CHANNEL_0, 1, 0);
    assert_eq!(
        (pit.take_edges(u64::MAX), pit.deadline(u64::MAX)),
        (0, None)
    );
}

/// A mode that begins high is an edge where the output was low.
#[test]
fn a_mode_can_be_an_edge() {
    let mut pit = programmed(0x30, &[]);
    pit.write(CONTROL, 0x34, at(1));
    assert_eq!(pit.take_edges(at(1)), 1);
}

#[test]
fn years_are_no_drift() {
    let mut pit = programmed(0x34, &[0xa9, 0x04]);
    let nanoseconds = u64::MAX / 4;
    let ticks = u128::from(nanoseconds) * 1_193_182 / 1_000_000_000;
    let edges = u64::try_from((ticks - 1) / 0x4a9).unwrap();
    assert_eq!(pit.take_edges(nanoseconds), edges);
    assert_eq!(pit.deadline(nanoseconds), Some(at((edges + 1) * 0x4a9 + 1)));
}

/// Channel 2's output at ticks 0, 1, ..., with the gate's level at each of them.
fn gated(control: u8, count: u8, gates: &str) -> String {
    let mut pit = Pit::new();
    pit.write(CONTROL, 0x80 | control, 0);
    pit.write(CHANNEL_2, count, 0);
    let mut output = String::new();
    for (gate, tick) in gates.bytes().zip(0..) {
        pit.write(SYSTEM_CONTROL, gate - b'0', at(tick));
        let is_high = pit.read(SYSTEM_CONTROL, at(tick)) & OUTPUT_2 != 0;
        output.push(if is_high { '1' } else { '0' });
    }
    output
}

#[test]
fn the_gate_of_channel_2() {
    for (control, count, gates, expected) in [
        (0x10, 3, "0011001111", "0000000111"),
        (0x12, 3, "0110000000", "1100011111"),
        (0x12, 3, "0110100000", "1100000011"),
        (0x14, 3, "0111110111111", "1111011111011"),
        (0x16, 4, "011111001111111", "111100111110011"),
        (0x18, 3, "0110001111", "1111111011"),
        (0x1a, 3, "0110000000", "1111101111"),
        (0x1a, 3, "0110100000", "1111111101"),
    ] {
        let seen = gated(control, count, gates);
        assert_eq!(seen, expected, "{control:#x} {gates}");
    }
}

#[test]
fn port_61() {
    let mut pit = Pit::new();
    assert_eq!(pit.read(SYSTEM_CONTROL, 0), 0x20);
    pit.write(SYSTEM_CONTROL, 0xff, 0);
    assert_eq!(pit.read(SYSTEM_CONTROL, at(17)), 0x2f);
    assert_eq!(pit.read(SYSTEM_CONTROL, at(18)), 0x3f);
    assert_eq!(pit.read(SYSTEM_CONTROL, at(36)), 0x2f);
    assert_eq!(pit.read(0x62, at(36)), 0xff);
}

/// What can be done to a counter.
#[derive(Clone, Debug)]
enum Change {
    Mode(u8, bool),
    Write(u64),
    HalfWrite,
    Gate(bool),
    Nothing,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        1 => (0..8_u8, any::<bool>()).prop_map(|(mode, bcd)| Change::Mode(mode, bcd)),
        3 => prop_oneof![0..12_u64, 0..70_000_u64].prop_map(Change::Write),
        1 => Just(Change::HalfWrite),
        3 => any::<bool>().prop_map(Change::Gate),
        1 => Just(Change::Nothing),
    ]
}

fn apply(counter: &mut Counter, change: &Change) {
    match *change {
        Change::Mode(mode, is_bcd) => counter.set_mode(Mode::new(mode), is_bcd),
        Change::Write(count) => counter.write(count),
        Change::HalfWrite => counter.half_write(),
        Change::Gate(gate) => counter.set_gate(gate),
        Change::Nothing => {}
    }
}

proptest! {
    /// A leap is as many steps of a tick, and the edges are those that the output shows.
    #[test]
    fn a_leap_is_its_ticks(
        changes in prop::collection::vec((change(), 0..40_u64), 1..30),
    ) {
        let mut leaping = Counter::new(Mode::SquareWave, true);
        let mut stepping = leaping;
        let mut now = 0;
        for (change, ticks) in changes {
            let before = stepping.output();
            apply(&mut leaping, &change);
            apply(&mut stepping, &change);
            let mut edges = u64::from(!before && stepping.output());
            let next_rise = leaping.next_rise();
            let mut first_rise = None;
            for tick in now + 1..=now + ticks {
                let before = stepping.output();
                stepping.advance(tick);
                if !before && stepping.output() {
                    edges += 1;
                    first_rise.get_or_insert(tick);
                }
            }
            now += ticks;
            leaping.advance(now);
            prop_assert_eq!(next_rise.filter(|&tick| tick <= now), first_rise);
            prop_assert_eq!(leaping.take_edges(), edges);
            prop_assert_eq!(stepping.take_edges(), edges);
            prop_assert_eq!(leaping.output(), stepping.output());
            prop_assert_eq!(leaping.remaining(), stepping.remaining());
            prop_assert_eq!(leaping.is_null(), stepping.is_null());
        }
    }

    #[test]
    fn any_access_is_answered(
        steps in prop::collection::vec(
            (
                prop::sample::select(vec![0x40_u16, 0x41, 0x42, 0x43, 0x61, 0x44]),
                prop::option::of(any::<u8>()),
                prop_oneof![0..5_000_u64, 0..1_u64 << 40, 0..=u64::MAX],
            ),
            0..100,
        ),
    ) {
        let mut pit = Pit::new();
        let mut now = 0_u64;
        for (port, value, nanoseconds) in steps {
            let before = now;
            now = now.saturating_add(nanoseconds);
            let due = pit.deadline(before);
            let edges = pit.take_edges(now);
            // An edge takes two ticks; a load and what the last access did can add one each.
            prop_assert!(edges <= (clock::tick_at(now) - clock::tick_at(before)) / 2 + 2);
            prop_assert!(due.is_none_or(|due| due > before));
            prop_assert!(due.is_none_or(|due| due > now || edges > 0));
            match value {
                Some(value) => pit.write(port, value, now),
                None => {
                    pit.read(port, now);
                }
            }
        }
    }

    #[test]
    fn mode_2_is_arithmetic(
        count: u16,
        start in 0..1_u64 << 50,
        times in prop::collection::vec(0..1_u64 << 40, 1..20),
    ) {
        prop_assume!(count != 1);
        let mut pit = Pit::new();
        pit.write(CONTROL, 0x34, start);
        for byte in count.to_le_bytes() {
            pit.write(CHANNEL_0, byte, start);
        }
        let period = if count == 0 { 65_536 } else { u64::from(count) };
        let loaded = clock::tick_at(start) + 1;
        let (mut now, mut seen) = (at(loaded), 0);
        for time in times {
            now += time;
            let clocks = clock::tick_at(now) - loaded;
            pit.write(CONTROL, 0, now);
            let [low, high] = [(); 2].map(|()| pit.read(CHANNEL_0, now));
            let left = period - clocks % period;
            prop_assert_eq!(u64::from(u16::from_le_bytes([low, high])), left % 65_536);
            prop_assert_eq!(pit.output(now), left != 1);
            let next = at(loaded + (clocks / period + 1) * period);
            prop_assert_eq!(pit.deadline(now), Some(next));
            prop_assert_eq!((pit.output(next - 1), pit.output(next)), (false, true));
            prop_assert_eq!(pit.take_edges(now), clocks / period - seen);
            seen = clocks / period;
        }
    }
}
