// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

use crate::guest::{Ask, CODE, Machine, Recorder, Seen, next};
use std::time::Duration;
use vcpu_runner::Runner;

const HALT_THEN_OUT: &[u8] = &[
    0xf4, // hlt
    0xe6, 0x80, // out 0x80, al
    0xf4, // hlt
];

#[test]
fn a_halted_guest_sleeps_until_a_request_lets_it_go_on() {
    let test = "a_halted_guest_sleeps_until_a_request_lets_it_go_on";
    let Some(machine) = Machine::new(test, HALT_THEN_OUT) else {
        return;
    };
    let (recorder, seen) = Recorder::new();
    let thread = Runner::new(machine.vcpu(0), recorder).spawn().unwrap();
    let handle = thread.handle();
    assert_eq!(next(&seen), Seen::Hlt);

    // Woken and handled, but the guest stays halted.
    handle.request(Ask::Report).unwrap();
    assert_eq!(next(&seen), Seen::Asked(Ask::Report, CODE + 1, 0));
    assert_eq!(handle.statistics().entries, 1);

    handle.request(Ask::GoOn).unwrap();
    assert_eq!(next(&seen), Seen::Asked(Ask::GoOn, CODE + 1, 0));
    assert_eq!(next(&seen), Seen::Out(0x80, vec![0]));
    assert_eq!(next(&seen), Seen::Hlt);
    assert_eq!(handle.statistics().entries, 3);

    handle.stop().unwrap();
    thread.join().unwrap();
}

#[test]
fn a_no_wakeup_request_waits_for_another_one() {
    let test = "a_no_wakeup_request_waits_for_another_one";
    let Some(machine) = Machine::new(test, HALT_THEN_OUT) else {
        return;
    };
    let (recorder, seen) = Recorder::new();
    let thread = Runner::new(machine.vcpu(0), recorder).spawn().unwrap();
    let handle = thread.handle();
    assert_eq!(next(&seen), Seen::Hlt);
    // The guest goes to sleep now; give it the time, so that the request finds it asleep. Where it
    // does not, the request is handled on the way there and the rest of the test still holds.
    std::thread::sleep(Duration::from_millis(20));
    handle.request(Ask::Quiet).unwrap();
    let early = seen.recv_timeout(Duration::from_millis(50)).ok();
    let wake_ups = handle.statistics().wake_ups;
    assert_eq!(wake_ups, 0, "a NO_WAKEUP request woke it");
    handle.request(Ask::Report).unwrap();
    let mut asked: Vec<Seen> = early.into_iter().collect();
    while asked.len() < 2 {
        asked.push(next(&seen));
    }
    // By bit: Report is 0, Quiet is 2. Handled early, Quiet is first.
    asked.sort_by_key(|seen| match seen {
        Seen::Asked(ask, ..) => Some(*ask),
        _ => None,
    });
    assert_eq!(asked[0], Seen::Asked(Ask::Report, CODE + 1, 0));
    assert_eq!(asked[1], Seen::Asked(Ask::Quiet, CODE + 1, 0));
    handle.stop().unwrap();
    thread.join().unwrap();
}
