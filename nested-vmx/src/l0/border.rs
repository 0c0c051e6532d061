// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is outside: L1's memory and MSRs, the processor, its interrupt controller, time, and whom
//! to ask for an immediate exit.

use vcpu_requests::{Request, VcpuRequests};

use crate::memory::L1Memory;
use crate::msrs::Msrs;
use crate::vmcs::Vmcs;

/// The logical processor on which L1 and L2 run: a real one, a hypervisor's, or a model.
///
/// The core hands it whole VMCSs. What of them it needs depends on what it is: with VMX in
/// hardware they are written to the VMCS in use, elsewhere the guest-state area is.
pub trait Hardware {
    /// Makes `vmcs` what the next entry enters with: the guest-state area, and for L2 the
    /// controls. Called when the level changes, not on each entry.
    fn load(&mut self, vmcs: &Vmcs);

    /// Writes the guest-state area as it is now to `vmcs`.
    fn store(&self, vmcs: &mut Vmcs);

    /// What of the guest's state decides about interrupts: asked before each entry.
    fn interruptibility(&self) -> Interruptibility;

    /// The guest's general-purpose registers, in the order of the encodings in instructions: RAX,
    /// RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
    fn registers(&self) -> [u64; 16];
}

/// What of a guest's state decides about interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interruptibility {
    /// RFLAGS.
    pub rflags: u64,
    /// The interruptibility state (SDM volume 3, table 26-3).
    pub state: u32,
}

/// L1's virtual interrupt controller.
pub trait Interrupts {
    /// The vector that it would give to an acknowledgement now. `None`: nothing is pending, or
    /// nothing that is not masked by priority.
    fn pending(&self) -> Option<u8>;

    /// The processor takes this vector, as [`Interrupts::pending`] returned it.
    fn acknowledge(&mut self, vector: u8);
}

/// L1's time-stamp counter.
pub trait Clock {
    /// The TSC as L1 reads it.
    fn tsc(&self) -> u64;
}

/// Takes the request for an immediate exit: when L2 is entered next, it runs only for as little as
/// possible.
pub trait RequestSink {
    /// Makes the request. It holds for one entry.
    fn immediate_exit(&self);
}

/// A request sink that makes a vCPU's request.
#[derive(Debug)]
pub struct VcpuRequestSink<'a, R: Request> {
    requests: &'a VcpuRequests<R>,
    immediate_exit: R,
}

impl<'a, R: Request> VcpuRequestSink<'a, R> {
    /// Makes the request `immediate_exit` of the vCPU `requests`. It is made by the vCPU's own
    /// thread before an entry, so nobody is to be kicked.
    pub const fn new(requests: &'a VcpuRequests<R>, immediate_exit: R) -> Self {
        Self {
            requests,
            immediate_exit,
        }
    }
}

impl<R: Request> RequestSink for VcpuRequestSink<'_, R> {
    fn immediate_exit(&self) {
        // The thread that makes the request is the one that must notice it.
        let _ = self.requests.make(self.immediate_exit);
    }
}

/// All of it, for one call.
pub struct Border<'a> {
    /// L1's physical memory.
    pub memory: &'a dyn L1Memory,
    /// The virtual processor's MSRs.
    pub msrs: &'a mut dyn Msrs,
    /// The processor.
    pub hardware: &'a mut dyn Hardware,
    /// L1's interrupt controller.
    pub interrupts: &'a mut dyn Interrupts,
    /// Time.
    pub clock: &'a dyn Clock,
    /// Whom to ask for an immediate exit.
    pub requests: &'a dyn RequestSink,
}

impl core::fmt::Debug for Border<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Border").finish_non_exhaustive()
    }
}
