// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L2 runs: what the core decides, and what it is told.

use super::error::SoftError;
use super::space::Fault;
use super::state::{CpuState, Stale};
use super::vcpu::{On, Out, SoftVcpu};
use super::world::World;
use crate::controls::{PrimaryControls, SecondaryControls};
use crate::ept::{EptFault, Eptp};
use crate::exit_reason::ExitReason;
use crate::interruption::Event;
use crate::l0::{AfterExit, EnterL2, ExitInformation, HardwareExit, PendingException};
use crate::registers::{activity, interruptibility, rflags};

impl<W: World> SoftVcpu<W> {
    /// Lets L2 run as far as the core says.
    pub(crate) fn run_l2(&mut self, how: &EnterL2) -> Result<Option<Out>, SoftError> {
        let has_ept = self
            .vmx
            .vmcs12()
            .secondary()
            .contains(SecondaryControls::ENABLE_EPT);
        if has_ept {
            let eptp = Eptp(self.vmx.vmcs12().ept_pointer());
            if self.eptp != Some(eptp) {
                self.view.clear()?;
                self.eptp = Some(eptp);
            }
        }
        self.switch_to(if has_ept { On::View } else { On::Whole })?;
        if self.vmx.take_flush().ept.is_some() {
            self.view.clear()?;
        }
        if how.preemption_timer == Some(0) && how.injection.is_none() && !how.immediate_exit {
            return self.exit(ExitInformation::new(ExitReason::PREEMPTION_TIMER), None);
        }
        if how.injection.is_some() || how.immediate_exit {
            self.statistics.injections += u64::from(how.injection.is_some());
            self.statistics.immediate_exits += u64::from(how.immediate_exit);
            return self.enter_briefly(how);
        }
        if let Some(reason) = self.open_window() {
            return self.exit(ExitInformation::new(reason), None);
        }
        self.step_l2()
    }

    /// Tells the core how the entry ended.
    pub(super) fn exit(
        &mut self,
        information: ExitInformation,
        vectoring: Option<Event>,
    ) -> Result<Option<Out>, SoftError> {
        let exit = HardwareExit::Exit {
            information,
            vectoring,
        };
        let after = self.with_border(|vmx, border| vmx.after_exit(exit, border));
        Ok(self.after(after))
    }

    pub(super) fn after(&self, after: AfterExit) -> Option<Out> {
        matches!(after, AfterExit::Abort(_)).then_some(Out::Shutdown)
    }

    pub(super) fn returned(&mut self, vectoring: Option<Event>) {
        let exit = HardwareExit::Returned { vectoring };
        let _ = self.with_border(|vmx, border| vmx.after_exit(exit, border));
    }

    /// L2 gets an exception, or L1 does: that is the core's to decide.
    pub(super) fn raise_in_l2(&mut self, exception: PendingException) -> Option<Out> {
        self.returned(None);
        // L2 is active, so it is not refused.
        let _ = self.vmx.raise_exception(exception);
        None
    }

    /// An access that EPT12 refuses.
    pub(super) fn ept_exit(
        &mut self,
        fault: &Fault,
        vectoring: Option<Event>,
    ) -> Result<Option<Out>, SoftError> {
        let Fault::Ept {
            fault,
            linear,
            physical,
        } = *fault
        else {
            return Ok(None);
        };
        let mut information = match fault {
            EptFault::Violation(violation) => {
                let mut exit = ExitInformation::new(ExitReason::EPT_VIOLATION);
                exit.qualification = violation.qualification;
                exit
            }
            EptFault::Misconfiguration { .. } => {
                ExitInformation::new(ExitReason::EPT_MISCONFIGURATION)
            }
            // Tables that are not memory: what a processor reads there is all ones, and misconfigured.
            _ => ExitInformation::new(ExitReason::EPT_MISCONFIGURATION),
        };
        information.linear_address = linear;
        information.physical_address = physical;
        let exit = HardwareExit::Exit {
            information,
            vectoring,
        };
        let after = self.with_border(|vmx, border| vmx.after_exit(exit, border));
        let AfterExit::L0(information) = after else {
            return Ok(self.after(after));
        };
        let reflected = self.with_border(|vmx, border| vmx.reflect(&information, border));
        Ok(reflected.ok().and_then(|after| self.after(after)))
    }

    /// An exit that L1 waits for and that is due now: nothing blocks interrupts, or NMIs.
    pub(super) fn open_window(&self) -> Option<ExitReason> {
        let primary = self.vmx.vmcs12().primary();
        let blocking = self.state.blocking();
        if self.in_shadow() {
            return None;
        }
        if primary.contains(PrimaryControls::NMI_WINDOW_EXITING)
            && blocking & interruptibility::NMI == 0
        {
            return Some(ExitReason::NMI_WINDOW);
        }
        (primary.contains(PrimaryControls::INTERRUPT_WINDOW_EXITING)
            && self.state.rflags() & rflags::IF != 0)
            .then_some(ExitReason::INTERRUPT_WINDOW)
    }

    /// Whether STI or MOV SS was executed just before.
    pub(crate) fn in_shadow(&self) -> bool {
        self.state.blocking() & (interruptibility::STI | interruptibility::MOV_SS) != 0
    }

    /// Whether L2 executes its next instruction before anything else can happen: behind STI and MOV
    /// SS, if nothing is on its way.
    pub(crate) fn must_execute_first(&self) -> bool {
        let pending = self.vmx.pending();
        let is_entered =
            self.vmx.operation().is_non_root() && !self.vmx.operation().is_run_pending();
        is_entered
            && self.in_shadow()
            && self.vmx.injection().is_none()
            && self.vmx.activity() == activity::ACTIVE
            && pending.exception.is_none()
            && !pending.monitor_trap
            && !pending.triple_fault
    }

    /// Makes what L0 has walked through visible to L2.
    pub(super) fn show_pages(&mut self) -> Result<(), SoftError> {
        if self.on == On::View {
            let pages = core::mem::take(&mut self.pages);
            self.view.show_all(&pages)?;
        }
        Ok(())
    }

    pub(super) fn restore(&mut self, before: &CpuState) {
        self.state.clone_from(before);
        self.state.stale = Stale::All;
    }
}
