// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

use super::*;

const PERIODIC: u32 = 1 << 17;
const DEADLINE: u32 = 2 << 17;

/// A timer without a divider.
fn with_timer(entry: u32) -> LocalApic {
    let mut apic = enabled();
    set(&mut apic, LVT_TIMER, entry);
    set(&mut apic, DIVIDE, 0b1011);
    apic
}

#[test]
fn it_counts_down_once() {
    let mut apic = with_timer(0x40);
    assert_eq!(apic.deadline(at(5)), None);
    write(&mut apic, INITIAL, 100, at(10));
    assert_eq!(apic.deadline(at(10)), Some(110));
    assert_eq!(read(&mut apic, CURRENT, at(50)), 60);
    apic.advance(at(109));
    assert_eq!(apic.pending(), None);
    apic.advance(at(110));
    assert_eq!(take_all(&mut apic), [0x40]);
    assert_eq!(apic.deadline(at(110)), None);
    apic.advance(at(1000));
    assert_eq!(apic.pending(), None);
}

#[test]
fn any_access_sees_what_is_due() {
    let mut apic = with_timer(0x40);
    write(&mut apic, INITIAL, 100, at(0));
    assert_eq!(read(&mut apic, 0x220, at(100)), 1);
    let mut apic = with_timer(0x40);
    write(&mut apic, INITIAL, 100, at(0));
    // It was masked too late.
    write(&mut apic, LVT_TIMER, 0x40 | MASKED, at(100));
    assert_eq!(apic.pending(), Some(0x40));
}

#[test]
fn missed_periods_are_one_interrupt() {
    let mut apic = with_timer(0x40 | PERIODIC);
    write(&mut apic, INITIAL, 100, at(0));
    for (now, fires, next, current) in [
        (99, false, 100, 1),
        (100, true, 200, 100),
        (150, false, 200, 50),
        (1_000_000_000_030, true, 1_000_000_000_100, 70),
        (1_000_000_000_099, false, 1_000_000_000_100, 1),
    ] {
        apic.advance(at(now));
        assert_eq!(!take_all(&mut apic).is_empty(), fires, "{now}");
        assert_eq!(apic.deadline(at(now)), Some(next), "{now}");
        assert_eq!(read(&mut apic, CURRENT, at(now)), current, "{now}");
    }
    write(&mut apic, INITIAL, 0, at(1_000_000_000_099));
    assert_eq!(apic.deadline(at(1_000_000_000_099)), None);
}

#[test]
fn a_masked_one_counts_silently() {
    let mut apic = with_timer(0x40 | PERIODIC | MASKED);
    write(&mut apic, INITIAL, 100, at(0));
    assert_eq!(apic.deadline(at(0)), None);
    assert_eq!(read(&mut apic, CURRENT, at(130)), 70);
    write(&mut apic, LVT_TIMER, 0x40 | PERIODIC, at(250));
    assert_eq!(apic.pending(), None);
    assert_eq!(apic.deadline(at(250)), Some(300));
}

#[test]
fn the_tsc_deadline_is_converted() {
    let mut apic = LocalApic::new(3_000_000);
    set(&mut apic, SVR, 0x1ff);
    let now = Now {
        nanoseconds: 1000,
        tsc: 7,
    };
    // In another mode it is ignored.
    assert_eq!(apic.write_msr(0x6e0, 10, now), Some(Ok(())));
    assert_eq!(apic.read_msr(0x6e0, now), Some(Ok(0)));
    set(&mut apic, LVT_TIMER, 0x40 | DEADLINE);
    for (deadline, expected) in [
        (10, 1001),
        (11, 1002),
        (3007, 2000),
        (u64::MAX, 6_148_914_691_236_518_203),
    ] {
        assert_eq!(apic.write_msr(0x6e0, deadline, now), Some(Ok(())));
        assert_eq!(apic.read_msr(0x6e0, now), Some(Ok(deadline)));
        assert_eq!(apic.deadline(now), Some(expected), "{deadline}");
        assert_eq!(apic.pending(), None);
    }
    apic.write_msr(0x6e0, 0, now);
    assert_eq!(apic.deadline(now), None);
    // One that has passed fires at once, and is over.
    apic.write_msr(0x6e0, 7, now);
    assert_eq!(take_all(&mut apic), [0x40]);
    assert_eq!(apic.read_msr(0x6e0, now), Some(Ok(0)));
    assert_eq!(apic.deadline(now), None);
}

#[test]
fn no_clock_rate_and_no_moment_is_too_odd() {
    for khz in [0, 1, u32::MAX] {
        let mut apic = LocalApic::new(khz);
        set(&mut apic, SVR, 0x1ff);
        set(&mut apic, LVT_TIMER, 0x40 | DEADLINE);
        let end = Now {
            nanoseconds: u64::MAX,
            tsc: 0,
        };
        apic.write_msr(0x6e0, u64::MAX, Now::default());
        assert!(apic.deadline(Now::default()).is_some());
        assert_eq!(apic.deadline(end), Some(u64::MAX));
        set(&mut apic, LVT_TIMER, 0x40);
        write(&mut apic, DIVIDE, 0b1010, end);
        write(&mut apic, INITIAL, u32::MAX, end);
        assert_eq!(apic.deadline(end), Some(u64::MAX));
        // Time that goes back is no time.
        assert_eq!(read(&mut apic, CURRENT, at(5)), u32::MAX);
    }
}
