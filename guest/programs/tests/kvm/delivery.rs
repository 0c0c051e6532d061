// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Short handlers: an event is handled once, what was pushed is what was interrupted, and the program
//! goes on.

use std::time::{Duration, Instant};

use guest_programs::{Guest, Handlers, Mode, Program, STACK_TOP};

use crate::kick::Kicks;
use crate::machine::{Event, Left, Machine};

const INTERRUPT: Event = Event::Interrupt(0x41);
const GENERAL_PROTECTION: Event = Event::Exception(13, 0x1234);

/// RFLAGS: the bit that is always set, and the interrupt flag.
const FIXED: u64 = 1 << 1;
const IF: u64 = 1 << 9;

/// One case's guest, in the middle of one program.
struct Case {
    guest: Guest,
    machine: Machine,
    program: Program,
    event: Event,
}

impl Case {
    fn vector(&self) -> u8 {
        self.event.vector()
    }

    fn name(&self) -> String {
        let mode = self.guest.mode();
        format!("{mode}, {}, {:?}", self.program, self.event)
    }

    /// Puts the guest where the event is to hit it: at the program's start, or, where the program has
    /// exits, at its first.
    fn begin(&mut self) {
        let vcpu = &self.machine.vcpu;
        self.guest.set_up(vcpu, self.program).unwrap();
        assert_eq!(self.machine.regs().rip, self.guest.entry(self.program));
        let exit = match self.program {
            Program::Halt => Left::Halt,
            Program::PortOut => Left::Out,
            Program::Spin | Program::Count | Program::Masked => return,
        };
        while self.machine.run() != exit {}
    }

    /// Whether the guest is back from the handler, and went on.
    fn done(&self, progress: u32) -> bool {
        let memory = &self.machine.memory;
        let handled = self.guest.count(memory, self.vector()).unwrap() > 0;
        let back = self.guest.contains(self.program, self.machine.regs().rip);
        let goes_on = self.guest.progress(memory).unwrap() != progress;
        handled && back && (goes_on || self.program == Program::Spin)
    }

    /// Runs until the guest went on after its handler. False where KVM lacks the handler's IRET.
    fn finish(&mut self) -> bool {
        let progress = self.guest.progress(&self.machine.memory).unwrap();
        let _kicks = Kicks::start();
        let begin = Instant::now();
        while !self.done(progress) {
            if self.machine.run() == Left::InternalError {
                let regs = self.machine.regs();
                let at_iret = 9 + u64::from(self.guest.pushes_error_code(self.vector()));
                let executed = self.guest.executed(self.vector(), &regs);
                assert_eq!(executed, Some(at_iret), "{}: {regs:x?}", self.name());
                return false;
            }
            let waited = begin.elapsed();
            assert!(
                waited < Duration::from_secs(60),
                "{}: {:x?}",
                self.name(),
                self.machine.regs()
            );
        }
        true
    }

    /// Checks what the event has left in memory.
    fn check(&self) {
        let name = self.name();
        let memory = &self.machine.memory;
        for vector in 0..=255 {
            let expected = u32::from(vector == self.vector());
            let count = self.guest.count(memory, vector).unwrap();
            assert_eq!(count, expected, "{name}: vector {vector}");
        }

        let mode = self.guest.mode();
        let error_code = self.event.error_code(mode);
        let len = self.guest.frame_len(error_code.is_some());
        let sp = self.guest.stack_for(self.vector()) - len;
        let frame = self.guest.frame(memory, sp, error_code.is_some()).unwrap();
        // Behind the HLT or OUT that was left, which are one byte, else at the first instruction.
        let exits = matches!(self.program, Program::Halt | Program::PortOut);
        let ip = self.guest.entry(self.program) + u64::from(exits);
        assert_eq!(frame.ip, ip, "{name}: {frame:x?}");
        assert_eq!(frame.cs, if mode == Mode::Real { 0 } else { 8 }, "{name}");
        let interrupts = if self.program.interrupts() { IF } else { 0 };
        assert_eq!(frame.flags & (FIXED | IF), FIXED | interrupts, "{name}");
        assert_eq!(frame.error_code, error_code, "{name}");
        let sp = (mode == Mode::Long).then_some(STACK_TOP);
        assert_eq!(frame.sp, sp, "{name}");
    }
}

/// Each program is interrupted by `event`.
fn deliver(test: &str, mode: Mode, ist: bool, event: Event) {
    let mut returned = true;
    for program in Program::ALL {
        // Nothing but the caller keeps KVM from delivering an interrupt that the guest has masked.
        if matches!(event, Event::Interrupt(_)) && !program.interrupts() {
            continue;
        }
        let guest = Guest::new(mode, Handlers::Short, ist);
        let Some(machine) = Machine::new(test, &guest) else {
            return;
        };
        let mut case = Case {
            guest,
            machine,
            program,
            event,
        };
        case.begin();
        case.machine.inject(mode, event);
        if case.finish() {
            // The handler took away all that was pushed.
            let regs = case.machine.regs();
            assert_eq!(regs.rsp, STACK_TOP, "{}", case.name());
        } else {
            returned = false;
        }
        case.check();
        case.guest.clear(&case.machine.memory).unwrap();
        let count = case.guest.count(&case.machine.memory, event.vector());
        assert_eq!(count.unwrap(), 0);
        assert_eq!(case.guest.progress(&case.machine.memory).unwrap(), 0);
    }
    if !returned {
        eprintln!(
            "SKIPPED: guest-programs {test}: the return from the handler: this host's KVM emulates \
             no IRET in {mode}"
        );
    }
}

macro_rules! deliveries {
    ($($name:ident: $mode:ident, $ist:literal, $event:expr;)*) => {$(
        #[test]
        fn $name() {
            deliver(stringify!($name), Mode::$mode, $ist, $event);
        }
    )*};
}

deliveries! {
    an_interrupt_in_real_mode: Real, false, INTERRUPT;
    an_interrupt_in_protected_mode: Protected, false, INTERRUPT;
    an_interrupt_in_long_mode: Long, false, INTERRUPT;
    an_nmi_in_real_mode: Real, false, Event::Nmi;
    an_nmi_in_protected_mode: Protected, false, Event::Nmi;
    an_nmi_in_long_mode: Long, false, Event::Nmi;
    an_nmi_in_long_mode_on_its_stack: Long, true, Event::Nmi;
    an_exception_in_real_mode: Real, false, GENERAL_PROTECTION;
    an_exception_in_protected_mode: Protected, false, GENERAL_PROTECTION;
    an_exception_in_long_mode: Long, false, GENERAL_PROTECTION;
    an_exception_in_long_mode_on_its_stack: Long, true, GENERAL_PROTECTION;
}
