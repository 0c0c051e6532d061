// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Before each entry, and after each exit.

use thiserror::Error;

use super::NestedVmx;
use super::border::Border;
use super::event::priority::{Next, Signal, Situation, next};
use super::event::{Combined, PendingException, combine, posted};
use super::exit::{Abort, ExitInformation};
use super::state::{NonRoot, Operation, Run};
use crate::controls::{PrimaryControls, SecondaryControls};
use crate::exit_reason::ExitReason;
use crate::instruction_error::InstructionError;
use crate::interruption::{Event, EventType};
use crate::registers::{activity, interruptibility};
use crate::route::{self, Route};
use crate::vmcs::Field;

/// Whether the immediate exit was asked for. It holds for one entry, so it is asked for once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    No,
    Yes,
}

/// What is to be entered next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// L1, or a guest that uses no VMX. What waits for it is L0's to deliver.
    L1,
    /// L2.
    L2(EnterL2),
    /// L2 does not execute anything (it is halted, shut down, or waits for a SIPI): sleep until an
    /// event arrives.
    Wait {
        /// L2's activity state.
        activity: u32,
        /// Wake up after so many units of L1's preemption timer.
        preemption_timer: Option<u32>,
    },
    /// An SMI is taken: L0 saves the state of the guest that runs and calls
    /// [`NestedVmx::enter_smm`].
    Smm,
    /// The VM exit from L2 failed, and L1's processor is shut down.
    Abort(Abort),
}

/// How L2 is to be entered: in the active state, also where the processor saw it halted last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnterL2 {
    /// The event that the entry delivers.
    pub injection: Option<Event>,
    /// What CR2 (for #PF) or DR6 (bits to set, for #DB) gets before.
    pub payload: Option<u64>,
    /// The entry must happen, and L2 come back as soon as it can. It was asked for through the
    /// request sink, too.
    pub immediate_exit: bool,
    /// An interrupt waits for L2 that it cannot take yet: L0 wants to know when it can.
    pub interrupt_window: bool,
    /// An NMI waits for L2 that it cannot take yet: L0 wants to know when it can.
    pub nmi_window: bool,
    /// L2 must come back after so many units of L1's preemption timer.
    pub preemption_timer: Option<u32>,
}

/// How an entry to L2 ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HardwareExit {
    /// It did not happen: the processor found vmcs02's controls or host state invalid (VMfailValid
    /// 7 or 8).
    Refused(InstructionError),
    /// It failed after that: a VM exit with bit 31 set in its reason.
    EntryFailure {
        /// The exit reason, without bit 31.
        reason: ExitReason,
        /// The exit qualification.
        qualification: u64,
    },
    /// L2 was entered, and a VM exit came.
    Exit {
        /// What the exit says.
        information: ExitInformation,
        /// The event whose delivery the exit interrupted.
        vectoring: Option<Event>,
    },
    /// L2 was entered and came back for L0's own sake only: an immediate exit, a kick, an interrupt
    /// of the host.
    Returned {
        /// The event whose delivery was interrupted.
        vectoring: Option<Event>,
    },
}

/// What is to be done after an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum AfterExit {
    /// L0 handles the exit. L2 stays active.
    L0(ExitInformation),
    /// It was a VM exit to L1: L1 is at its host RIP.
    L1,
    /// Nothing: the next [`NestedVmx::before_entry`] decides.
    Nothing,
    /// The VMLAUNCH or VMRESUME that was pending failed with this error: L1 goes on behind it, with
    /// the flags of VMfailValid.
    EntryUnwound(InstructionError),
    /// The hardware refuses an L2 that had been entered before: what L0 did to its state since is
    /// wrong.
    HardwareRefused(InstructionError),
    /// The VM exit failed, and L1's processor is shut down.
    Abort(Abort),
}

/// Why L2 cannot exit to L1.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RefusedExit {
    /// L2 is not active.
    #[error(
        "there is no L2 that could exit: the virtual processor is not in VMX non-root operation"
    )]
    NotInL2,
    /// L2 must be entered first.
    #[error("L2 cannot exit before it was entered: the entry that L1 asked for is pending")]
    RunPending,
}

impl NestedVmx {
    /// Decides what is entered next. Events that make L2 exit to L1 do so here.
    ///
    /// To be called last before each entry, after everything that can make an event wait; it may
    /// be called again if an event arrives before the entry.
    pub fn before_entry(&mut self, border: &mut Border<'_>) -> Decision {
        loop {
            let Operation::NonRoot(l2) = self.operation else {
                return Decision::L1;
            };
            let situation = self.situation(border);
            let next = next(&situation);
            let overtaken = next.is_interrupt().then(|| situation.window_exit());
            let step = match overtaken.flatten() {
                Some(reason) => self.leave(&ExitInformation::new(reason), l2, border),
                None => self.take(next, l2, border),
            };
            match step {
                Step::Again => {}
                Step::Enter { immediate_exit } => {
                    return self.enter_or_wait(l2, immediate_exit, border);
                }
                Step::Decided(decision) => return decision,
            }
        }
    }

    fn situation(&self, border: &Border<'_>) -> Situation<'_> {
        let now = border.hardware.interruptibility();
        Situation {
            vmcs12: &self.vmcs12,
            pending: &self.pending,
            run_pending: self.operation.is_run_pending(),
            injecting: self.injection.is_some(),
            activity: self.activity,
            rflags: now.rflags,
            interruptibility: now.state,
            timer_expired: self.timer_left(border) == Some(0),
            in_smm: self.is_in_smm(),
            interrupt: border.interrupts.pending(),
        }
    }

    /// Takes the event, or what there is instead of one.
    fn take(&mut self, next: Next, l2: NonRoot, border: &mut Border<'_>) -> Step {
        let information = match next {
            Next::Nothing => {
                return Step::Enter {
                    immediate_exit: false,
                };
            }
            Next::Blocked if self.is_waiting() => {
                // Nothing of L2 would be executed and nothing is injected: entering it is done.
                self.entered();
                return Step::Again;
            }
            Next::Blocked => {
                return Step::Enter {
                    immediate_exit: true,
                };
            }
            Next::Discard(Signal::Init) => {
                self.pending.init = false;
                self.pending.monitor_trap = false;
                return Step::Again;
            }
            Next::Discard(Signal::Sipi) => {
                self.pending.sipi = None;
                return Step::Again;
            }
            Next::Smm => {
                self.pending.smi = false;
                return Step::Decided(Decision::Smm);
            }
            Next::ExceptionInjection(exception) => {
                self.inject_exception(exception);
                return Step::Again;
            }
            Next::NmiInjection => {
                self.pending.nmi = false;
                self.inject(Event::NMI, None);
                return Step::Again;
            }
            Next::InterruptInjection(vector) => {
                border.interrupts.acknowledge(vector);
                self.inject(Event::external_interrupt(vector), None);
                return Step::Again;
            }
            Next::PostedInterrupts(vector) => {
                border.interrupts.acknowledge(vector);
                self.process_posted(border);
                return Step::Again;
            }
            Next::Init => {
                self.pending.init = false;
                self.pending.monitor_trap = false;
                ExitInformation::new(ExitReason::INIT)
            }
            Next::Sipi(vector) => {
                self.pending.sipi = None;
                let mut exit = ExitInformation::new(ExitReason::SIPI);
                exit.qualification = vector.into();
                exit
            }
            Next::TripleFault => {
                self.pending.triple_fault = false;
                ExitInformation::new(ExitReason::TRIPLE_FAULT)
            }
            Next::ExceptionExit(exception) => {
                self.pending.exception = None;
                ExitInformation::event(
                    ExitReason::EXCEPTION_OR_NMI,
                    exception.event,
                    exception.qualification,
                )
            }
            Next::MonitorTrap => {
                self.pending.monitor_trap = false;
                ExitInformation::new(ExitReason::MONITOR_TRAP_FLAG)
            }
            Next::PreemptionTimer => ExitInformation::new(ExitReason::PREEMPTION_TIMER),
            Next::NmiExit => {
                self.pending.nmi = false;
                ExitInformation::event(ExitReason::EXCEPTION_OR_NMI, Event::NMI, 0)
            }
            Next::InterruptExit => ExitInformation::new(ExitReason::EXTERNAL_INTERRUPT),
            Next::AcknowledgedInterruptExit(vector) => {
                let event = Event::external_interrupt(vector);
                let exit = ExitInformation::event(ExitReason::EXTERNAL_INTERRUPT, event, 0);
                let result = self.exit_to_l1(l2, &exit, border);
                border.interrupts.acknowledge(vector);
                return Step::Decided(result.map_or_else(Decision::Abort, |()| Decision::L1));
            }
        };
        self.leave(&information, l2, border)
    }

    /// L2 exits to L1.
    fn leave(
        &mut self,
        information: &ExitInformation,
        l2: NonRoot,
        border: &mut Border<'_>,
    ) -> Step {
        let result = self.exit_to_l1(l2, information, border);
        Step::Decided(result.map_or_else(Decision::Abort, |()| Decision::L1))
    }

    fn inject(&mut self, event: Event, payload: Option<u64>) {
        self.injection = Some(event);
        self.payload = payload;
        self.activity = activity::ACTIVE;
    }

    /// The exception takes the place of the event whose delivery it interrupted.
    fn inject_exception(&mut self, exception: PendingException) {
        self.pending.exception = None;
        let combined = match &self.injection {
            None => Combined::New,
            Some(first) => combine(first, &exception.event),
        };
        self.injection = None;
        match combined {
            Combined::New => self.inject(exception.event, Some(exception.qualification)),
            Combined::DoubleFault => {
                // It can cause a VM exit in its own right.
                self.pending.exception = Some(PendingException::fault(8, Some(0)));
            }
            Combined::TripleFault => self.pending.triple_fault = true,
        }
    }

    fn process_posted(&mut self, border: &mut Border<'_>) {
        border.hardware.store(&mut self.vmcs02);
        // A descriptor that is not memory posts nothing.
        let _ = posted::process(&self.vmcs12, border.memory, &mut self.vmcs02);
        border.hardware.load(&self.vmcs02);
    }

    /// Whether a virtual interrupt ends L2's halt: one is recognized, and L2 takes interrupts (SDM
    /// volume 3, sections 31.2.1 and 31.2.2). The processor then delivers it.
    fn has_virtual_interrupt(&self, border: &Border<'_>) -> bool {
        /// Where the virtual-APIC page has VPPR.
        const VPPR: u64 = 0xa0;
        /// The priority class of a vector.
        const CLASS: u32 = 0xf0;
        if !self
            .vmcs12
            .secondary()
            .contains(SecondaryControls::VIRTUAL_INTERRUPT_DELIVERY)
            || !self.situation(border).interrupt_window()
        {
            return false;
        }
        // RVI is the low byte.
        let requested = u32::from(self.vmcs02.guest_intr_status()) & CLASS;
        self.vmcs12
            .virtual_apic_page_addr()
            .checked_add(VPPR)
            .and_then(|address| border.memory.read_u32(address).ok())
            .is_some_and(|priority| requested > priority & CLASS)
    }

    /// Whether L2 would execute nothing if it were entered.
    const fn is_waiting(&self) -> bool {
        self.activity != activity::ACTIVE && self.injection.is_none()
    }

    /// The entry that L1 asked for has happened.
    const fn entered(&mut self) {
        if let Operation::NonRoot(l2) = &mut self.operation {
            l2.run = Run::Entered;
        }
        self.asked = Asked::No;
    }

    fn enter_or_wait(
        &mut self,
        l2: NonRoot,
        immediate_exit: bool,
        border: &mut Border<'_>,
    ) -> Decision {
        let preemption_timer = self
            .timer_left(border)
            .map(|left| u32::try_from(left).unwrap_or(u32::MAX));
        if self.activity == activity::HLT && self.has_virtual_interrupt(border) {
            self.activity = activity::ACTIVE;
        }
        if self.is_waiting() {
            self.entered();
            return match self.open_window(border) {
                Some(reason) => self
                    .exit_to_l1(l2, &ExitInformation::new(reason), border)
                    .map_or_else(Decision::Abort, |()| Decision::L1),
                None => Decision::Wait {
                    activity: self.activity,
                    // It causes no exit in the wait-for-SIPI state.
                    preemption_timer: match self.activity {
                        activity::WAIT_FOR_SIPI => None,
                        _ => preemption_timer,
                    },
                },
            };
        }
        if immediate_exit && self.asked == Asked::No {
            self.asked = Asked::Yes;
            border.requests.immediate_exit();
        }
        let situation = self.situation(border);
        Decision::L2(EnterL2 {
            injection: self.injection,
            payload: self.payload,
            immediate_exit,
            interrupt_window: situation.interrupt.is_some() && !immediate_exit,
            nmi_window: self.pending.nmi && !immediate_exit,
            preemption_timer,
        })
    }

    /// A halted or shut-down L2 whose window is open exits (SDM volume 3, section 27.2).
    fn open_window(&self, border: &Border<'_>) -> Option<ExitReason> {
        if self.activity == activity::WAIT_FOR_SIPI {
            return None;
        }
        let primary = self.vmcs12.primary();
        let situation = self.situation(border);
        let nmi_blocked = situation.interruptibility
            & (interruptibility::NMI | interruptibility::MOV_SS | interruptibility::STI)
            != 0;
        if primary.contains(PrimaryControls::NMI_WINDOW_EXITING)
            && self.has_virtual_nmis()
            && !nmi_blocked
        {
            return Some(ExitReason::NMI_WINDOW);
        }
        // Like an external interrupt, it does not end a shutdown.
        (primary.contains(PrimaryControls::INTERRUPT_WINDOW_EXITING)
            && self.activity != activity::SHUTDOWN
            && situation.interrupt_window())
        .then_some(ExitReason::INTERRUPT_WINDOW)
    }

    /// Says how the entry that [`NestedVmx::before_entry`] decided on ended. An entry to L2 that
    /// was not tried is not reported.
    pub fn after_exit(&mut self, exit: HardwareExit, border: &mut Border<'_>) -> AfterExit {
        let Operation::NonRoot(l2) = self.operation else {
            return match exit {
                HardwareExit::Exit { information, .. } => AfterExit::L0(information),
                HardwareExit::Refused(error) => AfterExit::HardwareRefused(error),
                _ => AfterExit::Nothing,
            };
        };
        match exit {
            HardwareExit::Refused(error) if l2.run == Run::Pending => {
                self.asked = Asked::No;
                self.unwind_entry(l2, error, border);
                AfterExit::EntryUnwound(error)
            }
            HardwareExit::Refused(error) => AfterExit::HardwareRefused(error),
            HardwareExit::EntryFailure {
                reason,
                qualification,
            } => {
                self.asked = Asked::No;
                let reason = reason.basic().entry_failure();
                if l2.run == Run::Pending {
                    self.undo_launch();
                }
                let root = super::Root {
                    vmxon: l2.vmxon,
                    current: Some(l2.current),
                };
                match self.fail_entry(root, reason, qualification, border) {
                    super::Outcome::Aborted(abort) => AfterExit::Abort(abort),
                    _ => AfterExit::L1,
                }
            }
            HardwareExit::Returned { vectoring } => {
                self.came_back(vectoring, border);
                AfterExit::Nothing
            }
            HardwareExit::Exit {
                information,
                vectoring,
            } => {
                self.came_back(vectoring, border);
                match self.route(&information, border) {
                    Route::L0 => AfterExit::L0(information),
                    Route::Swallow => AfterExit::Nothing,
                    Route::L1 => self
                        .exit_to_l1(l2, &information, border)
                        .map_or_else(AfterExit::Abort, |()| AfterExit::L1),
                }
            }
        }
    }

    fn route(&self, information: &ExitInformation, border: &Border<'_>) -> Route {
        let exit = route::Exit {
            reason: information.reason,
            qualification: information.qualification,
            event: information.event,
            instruction_information: information.instruction_information,
            registers: border.hardware.registers(),
            is_64_bit: self.is_64_bit(),
        };
        route::route(&exit, &self.vmcs12, border.memory, &self.wants)
    }

    /// L2 was entered. What was injected is in L2 now, or `vectoring` says that it is not.
    fn came_back(&mut self, vectoring: Option<Event>, border: &mut Border<'_>) {
        self.entered();
        border.hardware.store(&mut self.vmcs02);
        self.activity = self.vmcs02.guest_activity_state();
        let unblocked = vectoring.is_some_and(|event| event.kind == EventType::Nmi);
        if unblocked {
            // An NMI whose delivery did not end blocks no other: it will be delivered again (SDM
            // volume 3, section 29.2.4).
            let state = self.vmcs02.guest_interruptibility_info() & !interruptibility::NMI;
            self.vmcs02
                .write(Field::GuestInterruptibilityInfo, state.into());
            border.hardware.load(&self.vmcs02);
        }
        self.injection = vectoring;
        // It is where it belongs since L2 was entered; what is there now may be of a later event.
        self.payload = None;
        if vectoring.is_some() {
            // It ends a halt as soon as it is delivered.
            self.activity = activity::ACTIVE;
        }
    }

    /// L0 found that an exit that it handled is L1's: L2 exits to L1 with it. For EPT violations
    /// and misconfigurations, and for what L0's emulation finds.
    ///
    /// # Errors
    ///
    /// [`RefusedExit`]; nothing changed.
    pub fn reflect(
        &mut self,
        information: &ExitInformation,
        border: &mut Border<'_>,
    ) -> Result<AfterExit, RefusedExit> {
        match self.operation {
            Operation::NonRoot(
                l2 @ NonRoot {
                    run: Run::Entered, ..
                },
            ) => Ok(self
                .exit_to_l1(l2, information, border)
                .map_or_else(AfterExit::Abort, |()| AfterExit::L1)),
            Operation::NonRoot(_) => Err(RefusedExit::RunPending),
            _ => Err(RefusedExit::NotInL2),
        }
    }

    /// L0 raises an exception of L2's: one that an exit reported and L1's controls do not want, or
    /// one that L0's emulation causes. Whether it goes to L1 or to L2 is decided by the next
    /// [`NestedVmx::before_entry`], as the controls are then.
    ///
    /// # Errors
    ///
    /// [`RefusedExit::NotInL2`]
    pub fn raise_exception(&mut self, exception: PendingException) -> Result<(), RefusedExit> {
        if !self.operation.is_non_root() {
            return Err(RefusedExit::NotInL2);
        }
        self.pending.exception = Some(exception);
        Ok(())
    }

    /// L0 executed an instruction for L2 (an emulated one, or one that it skipped): RIP is behind it
    /// already, and blocking by STI and MOV SS has ended. With L1's monitor trap flag, a VM exit
    /// follows it (SDM volume 3, section 27.5.2).
    pub fn instruction_emulated(&mut self) {
        if self.operation.is_non_root()
            && self
                .vmcs12
                .primary()
                .contains(PrimaryControls::MONITOR_TRAP_FLAG)
        {
            self.pending.monitor_trap = true;
        }
    }

    /// L2 executed HLT, and L0 handles that: as with [`NestedVmx::instruction_emulated`], RIP and the
    /// blocking by STI and MOV SS are as they are behind the instruction.
    pub const fn halt(&mut self) {
        if self.operation.is_non_root() {
            self.activity = activity::HLT;
        }
    }
}

/// What came of one look at the events.
enum Step {
    /// An event was taken that changes what comes next: look again.
    Again,
    /// No more event can be taken: enter L2.
    Enter {
        /// Because one is blocked until then.
        immediate_exit: bool,
    },
    /// Something else than entering L2.
    Decided(Decision),
}
