// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A halted vCPU's thread wakes up for a request.

use loom::sync::Arc;
use loom::thread;

use super::broken::loom_must_catch;
use super::machine::{Ask, check, spinning};
use crate::loop_request::LoopRequest::User;

use vcpu_requests::Kick;

#[test]
fn a_sleeper_is_woken() {
    check(7, || {
        let (_, gate, _) = spinning();
        let maker = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.make(User(Ask::Plain)).unwrap())
        };
        while gate.requests().take().is_empty() {
            let _ = gate.sleep();
        }
        maker.join().unwrap();
    });
}

loom_must_catch!(a_sleeper_for_whom_nobody_rings_sleeps_on, "deadlock", {
    check(7, || {
        let (_, gate, _) = spinning();
        let maker = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || {
                // As `make`, but for the ring.
                assert_ne!(gate.requests().make(User(Ask::Plain)).kick, Kick::Signal);
            })
        };
        while gate.requests().take().is_empty() {
            let _ = gate.sleep();
        }
        maker.join().unwrap();
    });
});
