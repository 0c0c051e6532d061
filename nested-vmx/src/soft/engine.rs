// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One of KVM's vCPUs, on which a guest runs: all of it, one instruction, or as little as possible.

use alloc::sync::Arc;

use kvm_bindings::{
    KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_SINGLESTEP, KVM_VCPUEVENT_VALID_NMI_PENDING, Msrs,
    kvm_guest_debug, kvm_msr_entry, kvm_sregs, kvm_vcpu_events,
};
use vcpu_runner::kvm::{KvmSkipFlag, KvmVcpu};
use vcpu_runner::{BriefError, BriefRun, Exit, RunError, SkipFlag, Vcpu};

use super::error::SoftError;
use super::skip_flag::SoftSkipFlag;
use super::state::{CpuState, DR6_BS, Stale};
use crate::interruption::{Event, EventType};
use crate::vmcs::Field;

/// MSRs that a VMCS has, and KVM keeps elsewhere than in the segment and control registers.
const VMCS_MSRS: [(u32, Field); 4] = [
    (0x174, Field::GuestSysenterCs),
    (0x175, Field::GuestSysenterEsp),
    (0x176, Field::GuestSysenterEip),
    (0x277, Field::GuestIa32Pat),
];

/// MSRs that L1 and L2 share: STAR, LSTAR, CSTAR, SFMASK, KERNEL_GS_BASE, TSC_AUX.
const SHARED_MSRS: [u32; 6] = [
    0xc000_0081,
    0xc000_0082,
    0xc000_0083,
    0xc000_0084,
    0xc000_0102,
    0xc000_0103,
];

/// IA32_EFER, IA32_FS_BASE, IA32_GS_BASE: KVM keeps them with the segment and control registers.
const SREGS_MSRS: [u32; 3] = [0xc000_0080, 0xc000_0100, 0xc000_0101];

/// Whether it is the vCPU on which the guest runs that has this MSR; all others are L1's vCPU's.
pub(crate) fn is_with_the_guest(index: u32) -> bool {
    SHARED_MSRS.contains(&index)
        || SREGS_MSRS.contains(&index)
        || VMCS_MSRS.iter().any(|(vmcs, _)| *vmcs == index)
}

/// How the guest came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// It executed HLT, its own or one of L0's stops: RIP is behind it.
    Halt,
    /// A step is done.
    Step,
    /// It could take an interrupt.
    Window,
    /// It was shut down by a triple fault.
    Shutdown,
    /// KVM's emulator lacks the instruction at RIP.
    Emulation,
    /// KVM cannot deliver an event: an access of its delivery leads to what KVM takes for no memory.
    Undelivered,
    /// Something for the VMM: [`KvmVcpu::last_exit`] has it.
    Vmm,
    /// A kick, before or after it was entered.
    Interrupted,
}

/// What became of the events that KVM was to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// The guest has them.
    Done,
    /// This one was not delivered, and is KVM's no more: the one that was given to it, or an exception
    /// of the guest's.
    Left(Event),
}

/// What ends the execution of one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// KVM's single step.
    Step,
    /// RFLAGS.TF, which L0 has set: a debug exception of the guest's, at whose handler it stops.
    Trap,
    /// A stop at the instruction that follows.
    Stop,
}

/// How KVM is told to run the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Debugging {
    Off,
    Steps,
}

/// A vCPU of KVM's.
pub(crate) struct Engine {
    vcpu: KvmVcpu,
    flag: Arc<KvmSkipFlag>,
    debugging: Debugging,
    /// As they were last read.
    sregs: kvm_sregs,
    /// How often KVM_RUN was called.
    pub(crate) entries: u64,
}

impl Engine {
    pub(crate) fn new(vcpu: KvmVcpu) -> Result<Self, SoftError> {
        let sregs = vcpu
            .fd()
            .get_sregs()
            .map_err(SoftError::kvm("KVM_GET_SREGS"))?;
        Ok(Self {
            flag: vcpu.skip_flag(),
            vcpu,
            debugging: Debugging::Off,
            sregs,
            entries: 0,
        })
    }

    pub(crate) fn flag(&self) -> Arc<KvmSkipFlag> {
        Arc::clone(&self.flag)
    }

    pub(crate) fn vcpu(&self) -> &KvmVcpu {
        &self.vcpu
    }

    pub(crate) fn vcpu_mut(&mut self) -> &mut KvmVcpu {
        &mut self.vcpu
    }

    /// Gives KVM what of the state it does not have yet.
    pub(crate) fn write(&mut self, state: &mut CpuState) -> Result<(), SoftError> {
        let fd = self.vcpu.fd();
        if state.stale == Stale::All {
            let sregs = state.to_sregs(&self.sregs);
            fd.set_sregs(&sregs)
                .map_err(SoftError::kvm("KVM_SET_SREGS"))?;
            self.sregs = sregs;
            let entries = VMCS_MSRS.map(|(index, field)| kvm_msr_entry {
                index,
                data: state.vmcs.read(field),
                ..kvm_msr_entry::default()
            });
            let msrs = Msrs::from_entries(&entries).map_err(|_| SoftError::TooManyMsrs)?;
            fd.set_msrs(&msrs).map_err(SoftError::kvm("KVM_SET_MSRS"))?;
            let debug = fd
                .get_debug_regs()
                .map_err(SoftError::kvm("KVM_GET_DEBUGREGS"))?;
            let wanted = state.to_debug_registers(debug);
            if wanted.dr7 != debug.dr7 {
                fd.set_debug_regs(&wanted)
                    .map_err(SoftError::kvm("KVM_SET_DEBUGREGS"))?;
            }
        }
        if state.stale != Stale::Nothing {
            fd.set_regs(&state.to_regs())
                .map_err(SoftError::kvm("KVM_SET_REGS"))?;
        }
        state.stale = Stale::Nothing;
        Ok(())
    }

    /// Takes the general-purpose registers, RIP and RFLAGS from KVM.
    pub(crate) fn read_general(&self, state: &mut CpuState) -> Result<(), SoftError> {
        let regs = self
            .vcpu
            .fd()
            .get_regs()
            .map_err(SoftError::kvm("KVM_GET_REGS"))?;
        state.take_regs(&regs);
        Ok(())
    }

    /// Takes all of it.
    pub(crate) fn read(&mut self, state: &mut CpuState) -> Result<(), SoftError> {
        self.read_general(state)?;
        self.sregs = self
            .vcpu
            .fd()
            .get_sregs()
            .map_err(SoftError::kvm("KVM_GET_SREGS"))?;
        state.take_sregs(&self.sregs);
        Ok(())
    }

    /// Takes what only instructions that L0 looks at change.
    pub(crate) fn read_slow(&self, state: &mut CpuState) -> Result<(), SoftError> {
        let fd = self.vcpu.fd();
        let asked = VMCS_MSRS.map(|(index, _)| kvm_msr_entry {
            index,
            ..kvm_msr_entry::default()
        });
        let mut msrs = Msrs::from_entries(&asked).map_err(|_| SoftError::TooManyMsrs)?;
        fd.get_msrs(&mut msrs)
            .map_err(SoftError::kvm("KVM_GET_MSRS"))?;
        for entry in msrs.as_slice() {
            let found = VMCS_MSRS.iter().find(|(index, _)| *index == entry.index);
            if let Some((_, field)) = found {
                state.vmcs.write(*field, entry.data);
            }
        }
        let debug = fd
            .get_debug_regs()
            .map_err(SoftError::kvm("KVM_GET_DEBUGREGS"))?;
        state.vmcs.write(Field::GuestDr7, debug.dr7);
        Ok(())
    }

    /// Hands what no VMCS has over to another vCPU: x87 and SSE registers, debug registers, MSRs.
    pub(crate) fn hand_over(&self, to: &Self) -> Result<(), SoftError> {
        let (from, to) = (self.vcpu.fd(), to.vcpu.fd());
        let fpu = from.get_fpu().map_err(SoftError::kvm("KVM_GET_FPU"))?;
        to.set_fpu(&fpu).map_err(SoftError::kvm("KVM_SET_FPU"))?;
        let debug = from
            .get_debug_regs()
            .map_err(SoftError::kvm("KVM_GET_DEBUGREGS"))?;
        to.set_debug_regs(&debug)
            .map_err(SoftError::kvm("KVM_SET_DEBUGREGS"))?;
        let asked = SHARED_MSRS.map(|index| kvm_msr_entry {
            index,
            ..kvm_msr_entry::default()
        });
        let mut msrs = Msrs::from_entries(&asked).map_err(|_| SoftError::TooManyMsrs)?;
        let count = from
            .get_msrs(&mut msrs)
            .map_err(SoftError::kvm("KVM_GET_MSRS"))?;
        let had = msrs.as_slice().get(..count).unwrap_or_default();
        let msrs = Msrs::from_entries(had).map_err(|_| SoftError::TooManyMsrs)?;
        to.set_msrs(&msrs).map_err(SoftError::kvm("KVM_SET_MSRS"))?;
        Ok(())
    }

    /// Whether the debug exception that the guest got is a step's. Takes DR6.BS away then.
    pub(crate) fn take_trap(&self) -> Result<bool, SoftError> {
        let fd = self.vcpu.fd();
        let mut debug = fd
            .get_debug_regs()
            .map_err(SoftError::kvm("KVM_GET_DEBUGREGS"))?;
        if debug.dr6 & DR6_BS == 0 {
            return Ok(false);
        }
        debug.dr6 &= !DR6_BS;
        fd.set_debug_regs(&debug)
            .map_err(SoftError::kvm("KVM_SET_DEBUGREGS"))?;
        Ok(true)
    }

    /// An MSR of KVM's.
    pub(crate) fn msr(&self, index: u32) -> Option<u64> {
        let asked = kvm_msr_entry {
            index,
            ..kvm_msr_entry::default()
        };
        let mut msrs = Msrs::from_entries(&[asked]).ok()?;
        match self.vcpu.fd().get_msrs(&mut msrs) {
            Ok(1) => msrs.as_slice().first().map(|entry| entry.data),
            _ => None,
        }
    }

    /// Writes an MSR of KVM's. `false`: KVM refuses it.
    pub(crate) fn set_msr(&self, index: u32, data: u64) -> bool {
        let entry = kvm_msr_entry {
            index,
            data,
            ..kvm_msr_entry::default()
        };
        Msrs::from_entries(&[entry])
            .is_ok_and(|msrs| matches!(self.vcpu.fd().set_msrs(&msrs), Ok(1)))
    }

    /// Has KVM deliver an event with the next entry. The state was written, RIP behind the
    /// instruction for an event that comes from one.
    pub(crate) fn inject(&self, event: &Event) -> Result<(), SoftError> {
        let mut events = kvm_vcpu_events::default();
        // KVM takes #BP and #OF for instructions that it has to go behind itself. A software event
        // has been dealt with here: to KVM it is an interrupt.
        let is_exception =
            event.kind == EventType::HardwareException && !matches!(event.vector, 2..=4 | 32..);
        if event.kind == EventType::Nmi {
            events.nmi.injected = 1;
        } else if is_exception {
            events.exception.injected = 1;
            events.exception.nr = event.vector;
            events.exception.has_error_code = event.error_code.is_some().into();
            events.exception.error_code = event.error_code.unwrap_or_default();
        } else {
            events.interrupt.injected = 1;
            events.interrupt.nr = event.vector;
        }
        self.set_events(&events)
    }

    fn set_events(&self, events: &kvm_vcpu_events) -> Result<(), SoftError> {
        let events = kvm_vcpu_events {
            flags: KVM_VCPUEVENT_VALID_NMI_PENDING,
            ..*events
        };
        self.vcpu
            .fd()
            .set_vcpu_events(&events)
            .map_err(SoftError::kvm("KVM_SET_VCPU_EVENTS"))
    }

    /// What became of the events that were to be delivered when the guest came back like this. KVM
    /// has none afterwards, and blocks no NMIs: that is L0's to remember.
    pub(crate) fn take_back(&self, came: Came) -> Result<Delivery, SoftError> {
        let events = self
            .vcpu
            .fd()
            .get_vcpu_events()
            .map_err(SoftError::kvm("KVM_GET_VCPU_EVENTS"))?;
        let exception = &events.exception;
        let left = if exception.injected != 0 || exception.pending != 0 {
            let code = (exception.has_error_code != 0).then_some(exception.error_code);
            Some(Event::exception(exception.nr, code))
        } else if events.nmi.injected != 0 || events.nmi.pending != 0 {
            Some(Event::NMI)
        } else {
            (events.interrupt.injected != 0).then(|| Event::external_interrupt(events.interrupt.nr))
        };
        if left.is_some() || events.nmi.masked != 0 {
            self.set_events(&kvm_vcpu_events::default())?;
        }
        // KVM tells of what it cannot emulate, and has #UD for the guest as well.
        let left = left.filter(|event| {
            came != Came::Emulation || event.vector != super::idt::vector::INVALID_OPCODE
        });
        Ok(left.map_or(Delivery::Done, Delivery::Left))
    }

    fn debugging(&mut self, wanted: Debugging) -> Result<(), SoftError> {
        // A step is set up anew each time: KVM remembers at which RIP it began.
        if self.debugging == wanted && wanted == Debugging::Off {
            return Ok(());
        }
        let control = match wanted {
            Debugging::Off => 0,
            Debugging::Steps => KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP,
        };
        let debug = kvm_guest_debug {
            control,
            ..kvm_guest_debug::default()
        };
        self.vcpu
            .set_guest_debug(&debug)
            .map_err(SoftError::kvm("KVM_SET_GUEST_DEBUG"))?;
        self.debugging = wanted;
        Ok(())
    }

    fn enter(&mut self) -> Result<Came, SoftError> {
        self.entries += 1;
        match self.vcpu.run() {
            Ok(exit) => Ok(came(&exit)),
            Err(RunError::Interrupted | RunError::Again) => Ok(Came::Interrupted),
            Err(error) => Err(SoftError::Run(error)),
        }
    }

    /// Lets the guest run until it comes back by itself; or until it could take an interrupt, if one
    /// waits.
    pub(crate) fn run(&mut self, interrupt_waits: bool) -> Result<Came, SoftError> {
        self.debugging(Debugging::Off)?;
        self.vcpu.request_interrupt_window(interrupt_waits);
        let came = self.enter();
        self.vcpu.request_interrupt_window(false);
        came
    }

    /// Lets the guest execute one instruction.
    ///
    /// A step and a stop do not go together: a KVM that emulates steps over HLT, and tells of it one
    /// instruction late.
    pub(crate) fn one(&mut self, limit: Limit) -> Result<Came, SoftError> {
        match limit {
            Limit::Trap | Limit::Stop => self.run(false),
            Limit::Step => {
                self.debugging(Debugging::Steps)?;
                let came = self.enter();
                // So that the flag of the step is in no register that is read.
                self.debugging(Debugging::Off)?;
                came
            }
        }
    }

    /// Enters the guest for as little as possible.
    ///
    /// `Ok(None)`: somebody wants the vCPU outside, and nothing happened.
    pub(crate) fn run_briefly(&mut self) -> Result<Option<Came>, SoftError> {
        self.debugging(Debugging::Off)?;
        self.entries += 1;
        match self.vcpu.run_briefly() {
            Ok(BriefRun::Entered { exit: None, .. }) => Ok(Some(Came::Step)),
            Ok(BriefRun::Entered {
                exit: Some(exit), ..
            }) => Ok(Some(came(&exit))),
            Ok(BriefRun::Before(exit)) => Ok(Some(came(&exit))),
            Err(BriefError::Skipped) => Ok(None),
            Err(BriefError::NotEntered(why)) => Err(SoftError::NotEntered(why)),
            Err(BriefError::Run(RunError::Interrupted | RunError::Again)) => Ok(None),
            Err(BriefError::Run(error)) => Err(SoftError::Run(error)),
            Err(BriefError::State(errno)) => Err(SoftError::Kvm {
                ioctl: "the ioctls of an immediate exit",
                source: std::io::Error::from_raw_os_error(errno),
            }),
        }
    }

    /// Finishes the I/O of the last exit without entering the guest.
    ///
    /// [`Came::Interrupted`]: it is finished. [`Came::Vmm`]: there is more of it.
    pub(crate) fn finish_io(&mut self, outer: &SoftSkipFlag) -> Result<Came, SoftError> {
        self.flag.set();
        let came = match self.vcpu.run() {
            Ok(exit) => Ok(came(&exit)),
            Err(RunError::Interrupted | RunError::Again) => Ok(Came::Interrupted),
            Err(error) => Err(SoftError::Run(error)),
        };
        self.flag.clear();
        if outer.is_set() {
            self.flag.set();
        }
        came
    }
}

fn came(exit: &Exit<'_>) -> Came {
    /// KVM_INTERNAL_ERROR_EMULATION.
    const EMULATION: u32 = 1;
    /// KVM_INTERNAL_ERROR_DELIVERY_EV.
    const DELIVERY: u32 = 3;
    match exit {
        Exit::Hlt => Came::Halt,
        Exit::Debug(_) => Came::Step,
        Exit::IrqWindowOpen => Came::Window,
        Exit::Shutdown => Came::Shutdown,
        Exit::InternalError {
            suberror: EMULATION,
            ..
        } => Came::Emulation,
        Exit::InternalError {
            suberror: DELIVERY, ..
        } => Came::Undelivered,
        _ => Came::Vmm,
    }
}
