// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

use crate::guest::{Machine, Recorder, Seen, next, soon};
use vcpu_runner::{Ending, Outcome, Runner};

#[test]
fn a_triple_fault_is_an_exit() {
    let code = [0x0f, 0x0b]; // ud2, without an interrupt descriptor table
    let Some(machine) = Machine::new("a_triple_fault_is_an_exit", &code) else {
        return;
    };
    let (recorder, seen) = Recorder::new();
    let thread = Runner::new(machine.vcpu(0), recorder).spawn().unwrap();
    assert_eq!(next(&seen), Seen::Shutdown);
    let ending = thread.handle().wait(soon()).unwrap();
    assert!(matches!(ending, Ending::Stopped), "{ending:?}");
    assert!(matches!(thread.join().unwrap().outcome, Outcome::Stopped));
}
