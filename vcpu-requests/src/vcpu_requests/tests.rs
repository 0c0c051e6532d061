// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Each transition of the word, one thread, step by step.

extern crate std;

use std::format;

use super::VcpuRequests;
use crate::{Kick, Made, Mode, NotEntered, RequestSet};

crate::requests! {
    enum Ask {
        Plain = 0,
        Quiet = 1: NO_WAKEUP,
        Wait = 2: WAIT,
        Poke = 3: NO_ACTION,
        OutsideGuest = 31: WAIT | NO_WAKEUP | NO_ACTION,
    }
}

type Requests = VcpuRequests<Ask>;

const NOTHING: Made = Made {
    kick: Kick::NotNeeded,
    wait: None,
};

#[test]
fn a_request_made_outside_needs_no_kick_and_keeps_the_vcpu_out() {
    let vcpu = Requests::new();
    assert_eq!(vcpu.make(Ask::Wait), NOTHING);
    assert!(vcpu.pending() && vcpu.test(Ask::Wait));
    match vcpu.enter() {
        Err(NotEntered::Pending(set)) => assert_eq!(set, RequestSet::from_iter([Ask::Wait])),
        other => panic!("{other:?}"),
    }
    assert!(vcpu.check(Ask::Wait));
    assert!(!vcpu.check(Ask::Wait));
    assert!(vcpu.enter().is_ok());
}

#[test]
fn the_first_maker_of_a_stay_kicks_and_the_others_do_not() {
    let vcpu = Requests::new();
    for _ in 0..2 {
        let guest = vcpu.enter().unwrap();
        assert_eq!(vcpu.mode(), Mode::InGuest);
        assert_eq!(vcpu.make(Ask::Quiet).kick, Kick::Signal);
        assert_eq!(vcpu.mode(), Mode::Exiting);
        assert_eq!(vcpu.make(Ask::Quiet).kick, Kick::Coalesced);
        assert_eq!(vcpu.make(Ask::Plain).kick, Kick::Coalesced);
        assert!(guest.leave().kicked);
        assert_eq!(vcpu.mode(), Mode::Outside);
        assert_eq!(vcpu.take().len(), 2);
    }
}

#[test]
fn a_mark_from_outside_does_not_swallow_the_kick_of_the_next_stay() {
    let vcpu = Requests::new();
    assert_eq!(vcpu.make(Ask::Plain), NOTHING);
    assert_eq!(vcpu.make(Ask::Poke), NOTHING);
    vcpu.clear(Ask::Plain);
    let guest = vcpu.enter().unwrap();
    assert_eq!(vcpu.make(Ask::Poke).kick, Kick::Signal);
    assert!(guest.leave().kicked);
    assert!(!vcpu.enter().unwrap().leave().kicked);
}

#[test]
fn a_ticket_is_about_one_stay() {
    let vcpu = Requests::new();
    let guest = vcpu.enter().unwrap();
    let first = vcpu.make(Ask::Wait).wait.unwrap();
    let coalesced = vcpu.make(Ask::OutsideGuest).wait.unwrap();
    assert!(!vcpu.has_left(first) && !vcpu.has_left(coalesced));
    drop(guest);
    assert!(vcpu.has_left(first) && vcpu.has_left(coalesced));
    assert!(vcpu.check(Ask::Wait));
    let guest = vcpu.enter().unwrap();
    assert!(vcpu.has_left(first));
    let second = vcpu.make(Ask::OutsideGuest).wait.unwrap();
    assert!(!vcpu.has_left(second));
    drop(guest);
}

#[test]
fn no_action_kicks_and_leaves_nothing_to_handle() {
    let vcpu = Requests::new();
    let guest = vcpu.enter().unwrap();
    assert_eq!(vcpu.make(Ask::Poke).kick, Kick::Signal);
    assert!(!vcpu.pending());
    assert!(guest.leave().kicked);
    assert!(vcpu.enter().is_ok());
}

#[test]
fn a_request_that_wakes_is_noticed_asleep_and_before() {
    let vcpu = Requests::new();
    assert_eq!(vcpu.make(Ask::Plain), NOTHING);
    assert!(matches!(vcpu.sleep(), Err(NotEntered::Pending(set)) if set.contains(Ask::Plain)));
    assert!(vcpu.check(Ask::Plain));

    let sleeping = vcpu.sleep().unwrap();
    assert_eq!(vcpu.mode(), Mode::Sleeping);
    assert!(!sleeping.is_woken());
    assert_eq!(vcpu.make(Ask::Plain).kick, Kick::Wake);
    assert_eq!(vcpu.make(Ask::Wait), NOTHING);
    assert!(sleeping.is_woken());
    sleeping.wake_up();
    assert_eq!(vcpu.mode(), Mode::Outside);
    assert_eq!(vcpu.take().len(), 2);
}

#[test]
fn no_wakeup_lets_the_vcpu_sleep_but_not_enter() {
    let vcpu = Requests::new();
    assert_eq!(vcpu.make(Ask::Quiet), NOTHING);
    let sleeping = vcpu.sleep().unwrap();
    assert_eq!(vcpu.make(Ask::Quiet), NOTHING);
    assert!(!sleeping.is_woken());
    // It does not hide a later one that wakes, though both mark the word.
    assert_eq!(vcpu.make(Ask::Plain).kick, Kick::Wake);
    assert!(sleeping.is_woken());
    drop(sleeping);
    assert!(vcpu.check(Ask::Plain));
    assert!(matches!(vcpu.enter(), Err(NotEntered::Pending(set)) if set.contains(Ask::Quiet)));
}

#[test]
fn a_wake_up_from_before_the_sleep_does_not_count() {
    let vcpu = Requests::new();
    assert_eq!(vcpu.make(Ask::Poke), NOTHING);
    let sleeping = vcpu.sleep().unwrap();
    assert!(!sleeping.is_woken());
    assert_eq!(vcpu.make(Ask::Poke).kick, Kick::Wake);
    assert!(sleeping.is_woken());
}

#[test]
fn one_guard_at_a_time() {
    let vcpu = Requests::new();
    let guest = vcpu.enter().unwrap();
    assert!(matches!(vcpu.enter(), Err(NotEntered::Busy(Mode::InGuest))));
    assert_eq!(vcpu.make(Ask::Plain).kick, Kick::Signal);
    assert!(matches!(vcpu.sleep(), Err(NotEntered::Busy(Mode::Exiting))));
    drop(guest);
    vcpu.clear(Ask::Plain);
    let sleeping = vcpu.sleep().unwrap();
    assert!(matches!(
        vcpu.enter(),
        Err(NotEntered::Busy(Mode::Sleeping))
    ));
    drop(sleeping);
}

#[test]
fn errors_name_what_is_in_the_way() {
    let vcpu = Requests::new();
    let _ = vcpu.make(Ask::Wait);
    let _ = vcpu.make(Ask::Plain);
    assert_eq!(
        format!("{}", vcpu.enter().unwrap_err()),
        "requests are pending: {Plain, Wait}"
    );
    vcpu.take();
    let _guest = vcpu.enter().unwrap();
    assert_eq!(
        format!("{}", vcpu.enter().unwrap_err()),
        "the vCPU is in guest mode already"
    );
    assert_eq!(format!("{:?}", vcpu.sleep().unwrap_err()), "Busy(InGuest)");
    assert_eq!(
        format!("{vcpu:?}"),
        "VcpuRequests { mode: InGuest, pending: {}, generation: 0 }"
    );
}

#[test]
fn guards_show_the_word() {
    let vcpu = Requests::default();
    let guest = vcpu.enter().unwrap();
    assert_eq!(format!("{guest:?}"), format!("InGuest({vcpu:?})"));
    drop(guest);
    let sleeping = vcpu.sleep().unwrap();
    assert_eq!(format!("{sleeping:?}"), format!("Sleeping({vcpu:?})"));
    drop(sleeping);
}

#[test]
fn modes_read_as_sentences() {
    let shown =
        [Mode::Outside, Mode::InGuest, Mode::Exiting, Mode::Sleeping].map(|mode| format!("{mode}"));
    assert_eq!(
        shown,
        [
            "outside guest mode",
            "in guest mode",
            "leaving guest mode",
            "asleep"
        ]
    );
}

#[test]
fn a_pending_request_shows_by_name() {
    let vcpu = Requests::new();
    let _ = vcpu.make(Ask::Quiet);
    assert_eq!(
        format!("{:?}", vcpu.enter().unwrap_err()),
        "Pending({Quiet})"
    );
}
