// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Who makes a WAIT request goes on only when the guest has been left, and sees what was done there.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::broken::loom_must_catch;
use super::machine::{Ask, check, spinning};
use crate::Deadline;
use crate::loop_request::LoopRequest::User;

/// What a vCPU works on while it is in the guest: loom reports who touches it at the same time.
struct GuestData(UnsafeCell<u32>);

// SAFETY: that accesses are ordered is what the models show; loom fails them otherwise.
unsafe impl Sync for GuestData {}
// SAFETY: a u32.
unsafe impl Send for GuestData {}

impl GuestData {
    fn write(&self) {
        // SAFETY: loom checks that there is no other access.
        self.0.with_mut(|value| unsafe { *value += 1 });
    }

    fn read(&self) -> u32 {
        // SAFETY: as above.
        self.0.with(|value| unsafe { *value })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    ForTheTicket,
    Not,
}

fn wait_request(waits: Waits) {
    check(6, move || {
        let (vcpu, gate, _) = spinning();
        let data = Arc::new(GuestData(UnsafeCell::new(0)));
        let maker = {
            let gate = Arc::clone(&gate);
            let data = Arc::clone(&data);
            thread::spawn(move || {
                let ticket = gate.make(User(Ask::Wait)).unwrap();
                if let (Some(ticket), Waits::ForTheTicket) = (ticket, waits) {
                    gate.wait(ticket, Deadline::NEVER).unwrap();
                }
                // Out of the guest, and not in again before the request is taken, which happens
                // below only once this has been read.
                data.read()
            })
        };
        gate.open();
        let entered = gate.pass(|| {
            data.write();
            vcpu.kvm_run();
        });
        let _ = entered;
        maker.join().unwrap();
        assert!(!gate.requests().take().is_empty());
    });
}

#[test]
fn a_wait_request_waits_until_the_guest_is_left() {
    wait_request(Waits::ForTheTicket);
}

loom_must_catch!(
    without_waiting_the_guest_is_still_at_it,
    "Causality violation",
    {
        wait_request(Waits::Not);
    }
);

loom_must_catch!(
    /// As `pass`, but for the bell.
    a_stay_that_ends_in_silence_is_waited_for_for_ever,
    "deadlock",
    check(6, || {
        let (vcpu, gate, _) = spinning();
        let maker = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || {
                if let Some(ticket) = gate.make(User(Ask::Wait)).unwrap() {
                    gate.wait(ticket, Deadline::NEVER).unwrap();
                }
            })
        };
        gate.open();
        if let Ok(guest) = gate.requests().enter() {
            vcpu.kvm_run();
            let _ = guest.leave();
        }
        maker.join().unwrap();
    })
);
