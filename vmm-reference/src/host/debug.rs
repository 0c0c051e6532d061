// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Single step and immediate exit, really tried.

use kvm_bindings::{KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_SINGLESTEP, kvm_guest_debug};
use kvm_ioctls::Kvm;
use vcpu_runner::kvm::{ProbeError, ProbeExit, ProbeGuest};
use vcpu_runner::{SkipFlag, Vcpu};

/// nop; nop; hlt.
const NOPS: [u8; 3] = [0x90, 0x90, 0xf4];

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Works {
    /// As KVM's API says.
    Yes,
    /// KVM refused to do it, with this error number.
    Refused(i32),
    /// Otherwise.
    No {
        /// How the guest came back.
        exit: &'static str,
        /// How many bytes of its code it had executed.
        progress: u64,
    },
}

/// One NOP must be executed, then KVM_EXIT_DEBUG must come.
pub(super) fn single_step(kvm: &Kvm) -> Result<Works, ProbeError> {
    let mut guest = ProbeGuest::new(kvm, &NOPS)?;
    let debug = kvm_guest_debug {
        control: KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP,
        ..Default::default()
    };
    if let Err(error) = guest.vcpu().set_guest_debug(&debug) {
        return Ok(Works::Refused(error.errno()));
    }
    let exit = guest.run_on()?;
    judge(&guest, exit, ProbeExit::Debug, 1)
}

/// KVM_RUN must return EINTR and no instruction be executed; without the flag all of them.
pub(super) fn immediate_exit(kvm: &Kvm) -> Result<Works, ProbeError> {
    let mut guest = ProbeGuest::new(kvm, &NOPS)?;
    let skip = guest.vcpu().skip_flag();
    skip.set();
    let exit = guest.run()?;
    let skipped = judge(&guest, exit, ProbeExit::Interrupted, 0)?;
    if skipped != Works::Yes {
        return Ok(skipped);
    }
    skip.clear();
    let exit = guest.run_on()?;
    judge(&guest, exit, ProbeExit::Hlt, NOPS.len() as u64)
}

fn judge(
    guest: &ProbeGuest,
    exit: ProbeExit,
    expected: ProbeExit,
    expected_progress: u64,
) -> Result<Works, ProbeError> {
    let progress = guest.progress()?;
    if exit == expected && progress == expected_progress {
        return Ok(Works::Yes);
    }
    let exit = match exit {
        ProbeExit::Hlt => "HLT",
        ProbeExit::Debug => "KVM_EXIT_DEBUG",
        ProbeExit::InternalError => "KVM_EXIT_INTERNAL_ERROR",
        ProbeExit::Shutdown => "KVM_EXIT_SHUTDOWN",
        ProbeExit::Interrupted => "EINTR",
    };
    Ok(Works::No { exit, progress })
}
