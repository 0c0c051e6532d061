// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

use proptest::prelude::*;

use super::*;

const MODES: [u32; 4] = [0, 1 << 17, 2 << 17, 3 << 17];

fn at(nanoseconds: u64) -> Now {
    Now {
        nanoseconds,
        tsc: nanoseconds,
    }
}

#[test]
fn dividers() {
    for (configuration, divider) in [
        (0b0000, 2),
        (0b0001, 4),
        (0b0010, 8),
        (0b0011, 16),
        (0b1000, 32),
        (0b1001, 64),
        (0b1010, 128),
        (0b1011, 1),
        (0b0111, 16),
    ] {
        let mut timer = Timer::new(1);
        timer.set_divide(configuration, at(0));
        timer.set_initial(10, at(0));
        assert_eq!(timer.next(at(0)), Some(10 * divider), "{configuration:#b}");
        assert_eq!(timer.current(at(4 * divider - 1)), 7);
        assert_eq!(timer.current(at(4 * divider)), 6);
    }
}

#[test]
fn another_speed_counts_what_is_left() {
    let mut timer = Timer::new(1);
    timer.set_mode(MODES[1]);
    timer.set_initial(10, at(0));
    timer.set_divide(0b1011, at(8));
    assert_eq!(timer.next(at(8)), Some(14));
    assert!(timer.expire(at(14)));
    // The next period is a whole one.
    assert_eq!(timer.next(at(14)), Some(24));
}

#[test]
fn a_change_of_the_mode_disarms_unless_both_count() {
    for (from, to, goes_on) in [
        (0, 0, true),
        (0, 1, true),
        (1, 0, true),
        (0, 2, false),
        (1, 2, false),
        (0, 3, false),
        (2, 0, false),
        (2, 2, true),
        (2, 3, false),
        (3, 0, false),
    ] {
        let mut timer = Timer::new(1);
        timer.set_mode(MODES[from]);
        timer.set_initial(10, at(0));
        timer.set_tsc_deadline(10);
        timer.set_mode(MODES[to]);
        assert_eq!(timer.next(at(0)).is_some(), goes_on, "{from} {to}");
        assert_eq!(timer.expire(at(1000)), goes_on, "{from} {to}");
    }
}

#[test]
fn the_initial_count_is_ignored_while_there_are_deadlines() {
    let mut timer = Timer::new(1);
    timer.set_initial(10, at(0));
    timer.set_mode(MODES[2]);
    timer.set_initial(20, at(0));
    assert_eq!((timer.initial(), timer.current(at(0))), (10, 0));
}

proptest! {
    /// The next moment is when it fires and not before.
    #[test]
    fn it_fires_when_it_says(
        mode in 0..2usize,
        divide in any::<u32>(),
        count in 1..1000u32,
        start in 0..1000u64,
        pauses in prop::collection::vec(0..100_000u64, 1..20),
    ) {
        let mut timer = Timer::new(1);
        timer.set_mode(MODES[mode]);
        timer.set_divide(divide, at(start));
        timer.set_initial(count, at(start));
        let mut now = start;
        for pause in pauses {
            now += pause;
            let due = timer.next(at(now)).is_some_and(|next| next <= now);
            prop_assert_eq!(timer.expire(at(now)), due);
            prop_assert!(!timer.expire(at(now)));
            prop_assert!(timer.next(at(now)).is_none_or(|next| next > now));
            prop_assert_eq!(timer.next(at(now)).is_some(), timer.current(at(now)) > 0);
            if let Some(next) = timer.next(at(now)) {
                prop_assert_eq!((next - start) % u64::from(count), 0);
            }
        }
    }
}
