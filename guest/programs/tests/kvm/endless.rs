// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The endless handler: a guest in it says how far it is, and does not come back.

use guest_programs::{Guest, Handlers, Mode, Program};

use crate::kick::Kicks;
use crate::machine::{Event, Left, Machine};

fn counts_on(test: &str, mode: Mode) {
    let guest = Guest::new(mode, Handlers::Endless, false);
    let Some(mut machine) = Machine::new(test, &guest) else {
        return;
    };
    guest.set_up(&machine.vcpu, Program::Count).unwrap();
    let _kicks = Kicks::start();
    // Twice, of which the second is after a reset.
    for _ in 0..2 {
        guest.reset(&machine.vcpu, Program::Count).unwrap();
        let event = Event::Interrupt(200);
        machine.inject(mode, event);
        let mut last = 0;
        // Well into the loop behind the NOPs.
        while last <= 5000 {
            let left = machine.run();
            assert_eq!(left, Left::Kick, "{:x?}", machine.regs());
            let regs = machine.regs();
            match guest.executed(event.vector(), &regs) {
                Some(executed) => {
                    assert!(executed >= last, "{executed} after {last}: {regs:x?}");
                    last = executed;
                }
                // A kick before the entry.
                None => assert_eq!(regs.rip, guest.entry(Program::Count)),
            }
        }
        assert_eq!(guest.progress(&machine.memory).unwrap(), 0);
    }
}

#[test]
fn the_endless_handler_counts_in_real_mode() {
    counts_on("the_endless_handler_counts_in_real_mode", Mode::Real);
}

#[test]
fn the_endless_handler_counts_in_protected_mode() {
    counts_on(
        "the_endless_handler_counts_in_protected_mode",
        Mode::Protected,
    );
}

#[test]
fn the_endless_handler_counts_in_long_mode() {
    counts_on("the_endless_handler_counts_in_long_mode", Mode::Long);
}
