// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The status that the program ends with: one for each kind of end, so that scripts need not read
//! messages.

use crate::outcome::Outcome;
use crate::vmm::VmmError;

/// The status for a guest that wrote `value` to the debug exit port: QEMU's. It is odd, and no status
/// is left that it could not be, so that the outcome has to tell it from the others.
pub fn of_debug_exit(value: u32) -> u8 {
    (value << 1 | 1) as u8
}

/// The guest switched itself off or reset the machine; or what was asked for was printed.
pub const OK: u8 = 0;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// The machine cannot be made as configured: kernel, initrd, memory, vCPUs, files.
pub const CONFIGURATION: u8 = 3;
/// KVM is missing, forbidden, too old, or refused something.
pub const KVM: u8 = 4;
/// Triple fault.
pub const TRIPLE_FAULT: u8 = 5;
/// KVM_EXIT_INTERNAL_ERROR.
pub const INTERNAL_ERROR: u8 = 6;
/// A vCPU cannot be run any more.
pub const VCPU: u8 = 7;
/// The console or the summary cannot be written, or another operation of the host failed.
pub const IO: u8 = 8;
/// The user has quit, with Ctrl-A x.
pub const QUIT: u8 = 9;
/// A defect of this program: Rust's own status for a panic.
pub const PANIC: u8 = 101;
/// A signal: this and its number.
pub const SIGNAL: u8 = 128;

/// The table for `--help`.
pub const HELP: &str = "\
Exit status:
  0      the guest switched itself off or reset the machine
  2      the command line is wrong
  3      the machine cannot be made as configured (kernel, initrd, memory, vCPUs, files)
  4      KVM is missing, forbidden, too old, or refused something
  5      the guest had a triple fault
  6      KVM's internal error (an instruction that it cannot emulate, for example)
  7      a vCPU cannot be run any more
  8      input or output failed (console, summary, host)
  9      ended by Ctrl-A x
  101    a defect of this program
  128+n  ended by signal n
With --debug-exit, a guest that writes v to the port ends the VMM with (v << 1) | 1, of which a status
has the low 8 bits. That may be one of the above: the outcome in the summary is then \"debug_exit\",
and no message is written.";

/// The status for how a run ended.
pub fn of_outcome(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::PowerOff | Outcome::Reset => OK,
        Outcome::DebugExit { value } => of_debug_exit(*value),
        Outcome::TripleFault { .. } => TRIPLE_FAULT,
        Outcome::InternalError { .. } => INTERNAL_ERROR,
        Outcome::EntryFailed { .. }
        | Outcome::UnexpectedExit { .. }
        | Outcome::VcpuFailed { .. }
        | Outcome::NestedFailed { .. } => VCPU,
        Outcome::VcpuPanicked { .. } => PANIC,
        Outcome::ConsoleFailed(_) => IO,
        Outcome::Quit => QUIT,
        // Signal numbers end at 64.
        Outcome::Signal(signal) => SIGNAL.saturating_add(u8::try_from(*signal).unwrap_or(0)),
    }
}

/// The status for why there was no run.
pub fn of_error(error: &VmmError) -> u8 {
    match error {
        VmmError::Kvm(_)
        | VmmError::Vm(_)
        | VmmError::VcpuSetup(_)
        | VmmError::Vcpu(_)
        | VmmError::Soft(_) => KVM,
        VmmError::Host { .. } | VmmError::Summary(_) => IO,
        VmmError::TooManyVcpus { .. }
        | VmmError::NestedVcpus { .. }
        | VmmError::Memory(_)
        | VmmError::Boot(_)
        | VmmError::SameFile { .. }
        | VmmError::DebugExitPort { .. }
        | VmmError::SerialFile { .. }
        | VmmError::SummaryPath(_) => CONFIGURATION,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_has_each_status_once() {
        for status in [
            OK,
            USAGE,
            CONFIGURATION,
            KVM,
            TRIPLE_FAULT,
            INTERNAL_ERROR,
            VCPU,
            IO,
            QUIT,
            PANIC,
        ] {
            let start = format!("  {status} ");
            assert_eq!(
                HELP.lines().filter(|line| line.starts_with(&start)).count(),
                1
            );
        }
        for (value, status) in [(0, 1), (1, 3), (0x31, 0x63), (0x80, 1), (u32::MAX, 255)] {
            assert_eq!(of_outcome(&Outcome::DebugExit { value }), status);
        }
        assert_eq!(of_outcome(&Outcome::Signal(libc::SIGTERM)), 143);
        assert_eq!(of_outcome(&Outcome::Signal(i32::MAX)), SIGNAL);
    }
}
