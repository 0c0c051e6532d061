// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The state machine: one virtual processor's VMX, as L0 carries it out.
//!
//! A [`NestedVmx`] does not run anything. L0's loop asks it before each entry what to enter, enters,
//! and tells it how the entry ended:
//!
//! ```text
//!      +--------------------------------------------------------------+
//!      v                                                              |
//!   before_entry() --> Decision::L1 --> enter L1; a VMX instruction   |
//!      |               exits: execute() ------------------------------+
//!      |                                                              |
//!      +-------------> Decision::L2 --> enter L2 --> after_exit() ----+
//!                                                      |
//!                                                      +--> AfterExit::L0: handle it
//! ```
//!
//! # The L1-injection case
//!
//! L1 executes VMLAUNCH, and an event waits for L1. It may not make L2 exit yet: L2 must be
//! entered, or what vmcs12 asks for once (above all the event that L1 injects) is lost. So
//! [`NestedVmx::before_entry`] asks for an immediate exit and returns [`Decision::L2`]; the hardware
//! entry delivers L1's event and comes straight back; [`NestedVmx::after_exit`] sees whether it was
//! delivered; the next [`NestedVmx::before_entry`] makes L2 exit to L1 with the event that waits.

mod border;
mod control_register;
mod entry;
mod event;
mod exit;
mod flush;
mod instruction;
mod leave;
mod pdptes;
mod run;
mod smm;
mod snapshot;
mod state;
mod vmcs02;

pub use border::{
    Border, Clock, Hardware, Interruptibility, Interrupts, RequestSink, VcpuRequestSink,
};
pub use event::{Class, PendingEvents, PendingException};
pub use exit::{Abort, ExitInformation};
pub use flush::{Flush, LinearFlush};
pub use instruction::{
    Destination, Exception, Instruction, LinearMemory, LinearOperand, MemoryOperand, Outcome,
    Source,
};
pub use run::{AfterExit, Decision, EnterL2, HardwareExit, RefusedExit};
pub use smm::SmmState;
pub use snapshot::{Snapshot, SnapshotError};
pub use state::{NonRoot, Operation, Root, Run};
pub use vmcs02::MsrBitmap;

#[cfg(all(feature = "kvm", target_arch = "x86_64", target_os = "linux"))]
pub(crate) use event::priority;

use alloc::boxed::Box;

use crate::capability::Capabilities;
use crate::check::EntryInstruction;
use crate::interruption::Event;
use crate::registers::activity;
use crate::route::L0Wants;
use crate::vmcs::Vmcs;
use control_register::{CR0, CR4, ControlRegister};
use run::Asked;

/// What L0 gives to the nested VMX of one virtual processor when it makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// What L1 sees.
    pub capabilities: Capabilities,
    /// The virtual-processor identifier with which L2 runs, where L0 uses VPIDs: another one than
    /// L1's.
    pub vpid02: u16,
}

/// One virtual processor's VMX.
pub struct NestedVmx {
    capabilities: Capabilities,
    vpid02: u16,
    operation: Operation,
    /// What L0 runs L1 with; its guest-state area is L1's state.
    vmcs01: Box<Vmcs>,
    /// What L0 runs L2 with.
    vmcs02: Box<Vmcs>,
    /// The current VMCS of L1, if there is one.
    vmcs12: Box<Vmcs>,
    /// The VMCS that the link pointer of vmcs12 refers to, while L2 is active.
    shadow_vmcs12: Box<Vmcs>,
    /// The MSR accesses that exit for L0 while L1 runs.
    msr_bitmap01: Box<MsrBitmap>,
    /// The MSR accesses that exit while L2 runs.
    msr_bitmap02: Box<MsrBitmap>,
    /// The event that the next entry to L2 delivers.
    injection: Option<Event>,
    /// What CR2 (#PF) or DR6 (#DB) gets with it.
    payload: Option<u64>,
    /// The immediate exit was asked for, for the entry that comes.
    asked: Asked,
    pending: PendingEvents,
    /// L2's activity state.
    activity: u32,
    /// When L1's preemption timer runs down, in units of the timer's rate.
    timer_deadline: Option<u64>,
    smm: SmmState,
    flush: Flush,
    /// What L0 intercepts in L2 for itself.
    wants: L0Wants,
    /// How L1 entered L2.
    entered_by: EntryInstruction,
    /// L1's VPID of the L2 that ran last.
    last_vpid: u16,
}

impl NestedVmx {
    /// A virtual processor outside VMX operation. `vmcs01` is what L0 runs L1 with: its controls
    /// say what L0 needs of any guest.
    pub fn new(configuration: &Configuration, vmcs01: Vmcs) -> Self {
        let empty = || Box::new(Vmcs::new(configuration.capabilities.basic.revision()));
        Self {
            capabilities: configuration.capabilities,
            vpid02: configuration.vpid02,
            operation: Operation::Off,
            vmcs02: empty(),
            vmcs12: empty(),
            shadow_vmcs12: empty(),
            msr_bitmap01: Box::new(vmcs02::INTERCEPT_ALL_MSRS),
            msr_bitmap02: Box::new(vmcs02::INTERCEPT_ALL_MSRS),
            injection: None,
            payload: None,
            asked: Asked::No,
            pending: PendingEvents::default(),
            activity: activity::ACTIVE,
            timer_deadline: None,
            smm: SmmState::Outside,
            flush: Flush::default(),
            wants: L0Wants {
                exceptions: vmcs01.exception_bitmap(),
                ..L0Wants::default()
            },
            vmcs01: Box::new(vmcs01),
            entered_by: EntryInstruction::Vmlaunch,
            last_vpid: 0,
        }
    }

    /// What L1 sees.
    pub const fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Where the virtual processor is.
    pub const fn operation(&self) -> Operation {
        self.operation
    }

    /// What L0 runs L1 with. Its guest-state area is L1's state when L2 is active or has just been
    /// left, and otherwise what it was then.
    pub const fn vmcs01(&self) -> &Vmcs {
        &self.vmcs01
    }

    /// What L0 runs L1 with, to be changed: controls, host state.
    pub const fn vmcs01_mut(&mut self) -> &mut Vmcs {
        &mut self.vmcs01
    }

    /// L1's current VMCS as L0 keeps it. Without a current VMCS, the one that was current last.
    pub const fn vmcs12(&self) -> &Vmcs {
        &self.vmcs12
    }

    /// What L0 runs L2 with, as it was when L2 was entered from L1 or came back last.
    pub const fn vmcs02(&self) -> &Vmcs {
        &self.vmcs02
    }

    /// The MSR accesses that exit for L0 while L1 runs: all, to begin with.
    pub const fn msr_bitmap01_mut(&mut self) -> &mut MsrBitmap {
        &mut self.msr_bitmap01
    }

    /// The MSR accesses that exit while L2 runs.
    pub const fn msr_bitmap02(&self) -> &MsrBitmap {
        &self.msr_bitmap02
    }

    /// The event that the next entry to L2 delivers.
    pub const fn injection(&self) -> Option<Event> {
        self.injection
    }

    /// What waits.
    pub const fn pending(&self) -> &PendingEvents {
        &self.pending
    }

    /// What waits, to be changed: L0 adds events as they arrive, and takes those that it delivers
    /// to L1 itself. Exceptions of L2's come by [`NestedVmx::raise_exception`].
    pub const fn pending_mut(&mut self) -> &mut PendingEvents {
        &mut self.pending
    }

    /// L2's activity state.
    pub const fn activity(&self) -> u32 {
        self.activity
    }

    /// Takes what L0 has to forget before the next entry.
    pub fn take_flush(&mut self) -> Flush {
        core::mem::take(&mut self.flush)
    }

    /// What L0 intercepts in L2 for itself: the exceptions of vmcs01's bitmap, to begin with.
    pub const fn wants_mut(&mut self) -> &mut L0Wants {
        &mut self.wants
    }

    /// Whether INIT signals are blocked: in VMX root operation (SDM volume 3, section 25.8).
    pub const fn is_init_blocked(&self) -> bool {
        matches!(self.operation, Operation::Root(_))
    }

    /// CR0 as the running guest reads it.
    fn view_of_cr0(&self) -> u64 {
        ControlRegister::of(self.running(), CR0).view()
    }

    /// CR4 as the running guest reads it.
    fn view_of_cr4(&self) -> u64 {
        ControlRegister::of(self.running(), CR4).view()
    }

    /// Has the hardware write down the state of the guest that runs. SMM's is nobody's: what is
    /// kept is the state that it interrupted.
    fn fetch_guest_state(&mut self, border: &Border<'_>) {
        if self.is_in_smm() {
            return;
        }
        border.hardware.store(match self.operation {
            Operation::NonRoot(_) => &mut self.vmcs02,
            _ => &mut self.vmcs01,
        });
    }
}

impl core::fmt::Debug for NestedVmx {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("NestedVmx")
            .field("operation", &self.operation)
            .field("injection", &self.injection)
            .field("pending", &self.pending)
            .field("activity", &self.activity)
            .finish_non_exhaustive()
    }
}
