// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The virtual processor: L1 and L2 by turns, on one thread.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;

use vcpu_runner::kvm::KvmVcpu;
use vcpu_runner::{Exit, RunError, Vcpu};

use super::copied_stop::OwnHalt;
use super::engine::{Came, Engine};
use super::error::SoftError;
use super::idt::Handlers;
use super::l2_access::{self, Settled};
use super::msrs::{SharedMsrs, TSC};
use super::scan::Scanned;
use super::sites::{Sites, Unpatched};
use super::skip_flag::SoftSkipFlag;
use super::space::{Mapping, Space};
use super::state::CpuState;
use super::statistics::SoftStatistics;
use super::stops::Stopped;
use super::user_code::{Level, UserCode};
use super::view::View;
use super::vmcs01::vmcs01;
use super::world::{L2Memory, World};
use crate::capability::Capabilities;
use crate::controls::PinControls;
use crate::ept::{Ept, Eptp};
use crate::interruption::Event;
use crate::l0::{Border, Clock, Configuration, Decision, NestedVmx, RequestSink};

/// How L0 gets to see L1's VMX instructions, where KVM runs L1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Catch {
    /// L1's code is gone through before it runs, and stops where L0 has something to do.
    #[default]
    Stops,
    /// As [`Self::Stops`], but nothing stands in place of VMX instructions: for a KVM that comes back
    /// from them by itself, with KVM_EXIT_INTERNAL_ERROR.
    Exits,
    /// L1 is stepped, and each instruction decoded before.
    Steps,
}

/// How L2 is entered when an event waits for L1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Entering {
    /// By an immediate exit.
    #[default]
    Briefly,
    /// As an L0 does that has no immediate exit: L2 runs until it exits by itself, or somebody kicks
    /// it. For measurements with an L2 that executes nothing that L0 has to see.
    UntilKicked,
}

/// How one instruction of L2's user code is executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserStep {
    /// By KVM's single step.
    #[default]
    Debugging,
    /// By RFLAGS.TF: for a KVM whose single step of user code is a debug exception of the guest's.
    Trap,
}

/// Which of KVM's vCPUs has the guest's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// The VM with all of L1's memory: L1, and an L2 without EPT.
    Whole,
    /// The VM with what EPT12 gives L2.
    View,
}

impl On {
    /// Its vCPU, of the two.
    pub(crate) fn of<'a>(self, whole: &'a mut Engine, for_view: &'a mut Engine) -> &'a mut Engine {
        match self {
            Self::Whole => whole,
            Self::View => for_view,
        }
    }
}

/// What the guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    Running,
    /// L1 executed HLT. (What L2 does is the core's to know.)
    Halted,
}

/// Whether the last exit's I/O is finished.
#[derive(Clone, Debug)]
pub(crate) enum Io {
    Finished,
    /// The VMM has an exit of the guest's.
    Pending(Behind),
}

/// What is done when the I/O is.
#[derive(Clone, Debug)]
pub(crate) enum Behind {
    /// An instruction of L1's.
    Nothing,
    /// What was begun with these registers begins anew.
    Again(Box<CpuState>),
    /// L2's instruction, before which RFLAGS were these.
    Instruction(u64),
    /// The delivery of an event to L2.
    Delivery(Option<Event>),
}

/// Why the loop goes back to the VMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    /// With the exit of the vCPU that runs.
    Exit,
    /// The guest waits for an event.
    Halt,
    /// The guest is shut down.
    Shutdown,
    /// Somebody wants the vCPU outside.
    Interrupted,
}

/// A virtual processor that has VMX though its KVM has none: to be run by a
/// [`Runner`](vcpu_runner::Runner), as one of KVM's is.
///
/// It is made of two vCPUs of KVM's, in two VMs without interrupt controllers of KVM's: one with all
/// of L1's memory, one for an L2 with EPT, whose memory L0 fills as L2 uses it.
pub struct SoftVcpu<W: World> {
    pub(crate) vmx: NestedVmx,
    pub(crate) state: CpuState,
    pub(crate) whole: Engine,
    pub(crate) for_view: Engine,
    pub(crate) on: On,
    pub(crate) view: View,
    /// The EPTP that the view was made for.
    pub(crate) eptp: Option<Eptp>,
    pub(crate) world: W,
    pub(crate) catch: Catch,
    pub(crate) entering: Entering,
    pub(crate) sites: Sites,
    pub(crate) scanned: Scanned,
    /// The handlers of the guest that runs, at which it stops or whose code was gone through.
    pub(crate) handlers: Handlers,
    /// L1's whose code was gone through, with CR0, CR3 and CR4.
    pub(crate) scanned_handlers: Option<((u64, u64, u64), Handlers)>,
    /// Those at which L1 stops, and L2.
    pub(crate) stopped: [Stopped; 2],
    /// L1's own HLT that was looked at last, and L2's.
    pub(crate) own_halts: [Option<OwnHalt>; 2],
    pub(crate) user_step: UserStep,
    pub(crate) user_code: UserCode,
    /// Where L1 was when it was last let run.
    pub(crate) level: Level,
    pub(crate) activity: Activity,
    pub(crate) io: Io,
    /// What L1 gets with its next entry.
    pub(crate) for_l1: Option<Event>,
    /// The pages that L2's next instruction goes through, as far as that is foreseen.
    pub(crate) pages: vec::Vec<Mapping>,
    pub(crate) skip: Arc<SoftSkipFlag>,
    pub(crate) statistics: SoftStatistics,
    error: Option<SoftError>,
}

/// Nobody listens: that the exit is to be immediate comes with the decision, too.
pub(crate) struct Nobody;

impl RequestSink for Nobody {
    fn immediate_exit(&self) {}
}

/// No VMX instruction takes an interrupt.
pub(crate) struct NoInterrupts;

impl crate::l0::Interrupts for NoInterrupts {
    fn pending(&self) -> Option<u8> {
        None
    }

    fn acknowledge(&mut self, _vector: u8) {}
}

/// L1's TSC as KVM has it.
pub(crate) struct Tsc(pub(crate) u64);

impl Clock for Tsc {
    fn tsc(&self) -> u64 {
        self.0
    }
}

impl<W: World> SoftVcpu<W> {
    /// Makes one from two vCPUs, both set up for immediate exits: `whole` in a VM with L1's memory
    /// and in the state in which L1 begins, `for_view` in a VM without memory, which `view` fills.
    ///
    /// # Errors
    ///
    /// [`SoftError::Kvm`]
    pub fn new(
        capabilities: &Capabilities,
        whole: KvmVcpu,
        for_view: KvmVcpu,
        view: Box<dyn L2Memory>,
        world: W,
    ) -> Result<Self, SoftError> {
        let vmcs01 = vmcs01(capabilities);
        let configuration = Configuration {
            capabilities: *capabilities,
            vpid02: 2,
        };
        let mut state = CpuState::new(vmcs01.clone());
        let mut whole = Engine::new(whole)?;
        whole.read(&mut state)?;
        whole.read_slow(&mut state)?;
        state.stale = super::state::Stale::Nothing;
        let for_view = Engine::new(for_view)?;
        let skip = SoftSkipFlag::new(vec![whole.flag(), for_view.flag()]);
        Ok(Self {
            vmx: NestedVmx::new(&configuration, vmcs01),
            state,
            whole,
            for_view,
            on: On::Whole,
            view: View::new(view),
            eptp: None,
            world,
            catch: Catch::default(),
            entering: Entering::default(),
            sites: Sites::default(),
            scanned: Scanned::default(),
            handlers: Handlers::default(),
            scanned_handlers: None,
            stopped: <[Stopped; 2]>::default(),
            own_halts: [None; 2],
            user_step: UserStep::default(),
            user_code: UserCode::default(),
            level: Level::default(),
            activity: Activity::Running,
            io: Io::Finished,
            for_l1: None,
            pages: vec::Vec::new(),
            skip: Arc::new(skip),
            statistics: SoftStatistics::default(),
            error: None,
        })
    }

    /// Chooses how L1's VMX instructions are caught.
    #[must_use]
    pub fn catching(mut self, catch: Catch) -> Self {
        self.catch = catch;
        self
    }

    /// Chooses how L2's user code is stepped.
    #[must_use]
    pub fn stepping_user_code(mut self, user_step: UserStep) -> Self {
        self.user_step = user_step;
        self
    }

    /// Chooses how L2 is entered when an event waits for L1.
    #[must_use]
    pub fn entering(mut self, entering: Entering) -> Self {
        self.entering = entering;
        self
    }

    /// What was done so far.
    pub fn statistics(&self) -> SoftStatistics {
        SoftStatistics {
            stops: self.sites.len() as u64,
            scanned: self.scanned.len() as u64,
            kvm_entries: self.whole.entries + self.for_view.entries,
            ..self.statistics
        }
    }

    /// The VMX of the virtual processor.
    pub fn vmx(&self) -> &NestedVmx {
        &self.vmx
    }

    /// The machine around it.
    pub fn world(&self) -> &W {
        &self.world
    }

    /// What made the virtual processor end, where its exit says only that KVM_RUN failed.
    pub fn take_error(&mut self) -> Option<SoftError> {
        self.error.take()
    }

    /// The vCPU of KVM's on which the guest runs.
    pub fn running(&self) -> &KvmVcpu {
        self.engine().vcpu()
    }

    pub(crate) fn engine(&self) -> &Engine {
        match self.on {
            On::Whole => &self.whole,
            On::View => &self.for_view,
        }
    }

    pub(crate) fn engine_mut(&mut self) -> &mut Engine {
        self.on.of(&mut self.whole, &mut self.for_view)
    }

    /// Takes the registers from the vCPU that runs.
    pub(crate) fn read_registers(&mut self) -> Result<(), SoftError> {
        let engine = self.on.of(&mut self.whole, &mut self.for_view);
        engine.read(&mut self.state)
    }

    /// The vCPU that runs from now on, with the registers that no VMCS has.
    pub(crate) fn switch_to(&mut self, on: On) -> Result<(), SoftError> {
        if self.on == on {
            return Ok(());
        }
        match on {
            On::View => self.whole.hand_over(&self.for_view)?,
            On::Whole => self.for_view.hand_over(&self.whole)?,
        }
        self.on = on;
        self.state.stale = super::state::Stale::All;
        Ok(())
    }

    /// Calls the core with everything around it.
    pub(crate) fn with_border<T>(
        &mut self,
        call: impl FnOnce(&mut NestedVmx, &mut Border<'_>) -> T,
    ) -> T {
        // Only L1's timer needs to know, and it costs an ioctl.
        let pin = self.vmx.vmcs12().pin();
        let tsc = Tsc(match pin.contains(PinControls::PREEMPTION_TIMER) {
            true => self.tsc(),
            false => 0,
        });
        let mut msrs = SharedMsrs {
            running: match self.on {
                On::Whole => &self.whole,
                On::View => &self.for_view,
            },
            whole: &self.whole,
            capabilities: *self.vmx.capabilities(),
            physical: self.vmx.capabilities().processor,
        };
        // Two borrows of the world, for its memory and for its interrupts, cannot be had at once.
        let mut interrupts = Asked::new(self.world.interrupts());
        let memory = self.world.memory();
        let unpatched = Unpatched::new(memory, &self.sites);
        let mut border = Border {
            memory: &unpatched,
            msrs: &mut msrs,
            hardware: &mut self.state,
            interrupts: &mut interrupts,
            clock: &tsc,
            requests: &Nobody,
        };
        let result = call(&mut self.vmx, &mut border);
        if let Some(vector) = interrupts.taken {
            self.world.interrupts().acknowledge(vector);
        }
        result
    }

    /// Does something with the linear memory of the guest that runs.
    pub(crate) fn with_space<T>(&mut self, call: impl FnOnce(&CpuState, &Space<'_>) -> T) -> T {
        let capabilities = *self.vmx.capabilities();
        let non_root = self.vmx.operation().is_non_root();
        let ept = non_root
            .then(|| Ept::of(self.vmx.vmcs12(), &capabilities))
            .flatten();
        let unpatched = Unpatched::new(self.world.memory(), &self.sites);
        self.state.load_pdptes(&unpatched, ept.as_ref());
        let paging = self.state.paging(capabilities.processor);
        let space = Space::new(&unpatched, ept, paging);
        let result = call(&self.state, &space);
        let pages = space.gone_through();
        if !pages.is_empty() {
            self.pages = pages;
        }
        result
    }

    /// The same with the handlers of the guest that runs.
    pub(crate) fn with_handlers<T>(
        &mut self,
        call: impl FnOnce(&Handlers, &CpuState, &Space<'_>) -> T,
    ) -> T {
        let handlers = core::mem::take(&mut self.handlers);
        let result = self.with_space(|state, space| call(&handlers, state, space));
        self.handlers = handlers;
        result
    }

    fn turn(&mut self) -> Result<Out, SoftError> {
        loop {
            if matches!(self.io, Io::Pending(_)) {
                let skip = Arc::clone(&self.skip);
                if self.engine_mut().finish_io(&skip)? != Came::Interrupted {
                    return Ok(Out::Exit);
                }
                if let Io::Pending(behind) = core::mem::replace(&mut self.io, Io::Finished) {
                    self.after_io(behind)?;
                }
            }
            if self.skip.is_set() {
                return Ok(Out::Interrupted);
            }
            self.poll();
            if self.must_execute_first() {
                match self.step_l2()? {
                    Some(out) => return Ok(out),
                    None => continue,
                }
            }
            let decision = self.with_border(NestedVmx::before_entry);
            let out = match decision {
                Decision::L1 => self.run_l1()?,
                Decision::L2(how) => self.run_l2(&how)?,
                Decision::Wait {
                    preemption_timer, ..
                } => {
                    let rate = self.vmx.capabilities().misc.preemption_timer_rate();
                    let cycles = preemption_timer.map(|left| u64::from(left) << rate);
                    let wait = cycles.map(|cycles| self.nanoseconds(cycles));
                    self.world.wake_after(wait);
                    Some(Out::Halt)
                }
                // There is no system management here to enter.
                Decision::Smm => None,
                Decision::Abort(_) => Some(Out::Shutdown),
            };
            if let Some(out) = out {
                return Ok(out);
            }
        }
    }

    /// L1's TSC now.
    pub(crate) fn tsc(&self) -> u64 {
        self.whole.msr(TSC).unwrap_or_default()
    }

    fn nanoseconds(&self, cycles: u64) -> u64 {
        let khz = self.whole.vcpu().fd().get_tsc_khz().unwrap_or(1_000_000);
        let nanoseconds = u128::from(cycles) * 1_000_000 / u128::from(khz.max(1));
        u64::try_from(nanoseconds).unwrap_or(u64::MAX)
    }

    fn poll(&mut self) {
        let signals = self.world.poll();
        let pending = self.vmx.pending_mut();
        pending.nmi |= signals.nmi;
        pending.init |= signals.init;
        if signals.start_up.is_some() {
            pending.sipi = signals.start_up;
        }
    }

    /// The registers as they are now that the I/O of an exit is finished.
    fn after_io(&mut self, behind: Behind) -> Result<(), SoftError> {
        self.read_registers()?;
        self.state.end_shadow();
        match behind {
            Behind::Nothing => Ok(()),
            Behind::Again(before) => {
                self.restore(&before);
                Ok(())
            }
            Behind::Instruction(flags) => {
                self.end_trap(flags)?;
                self.l2_executed(flags);
                Ok(())
            }
            Behind::Delivery(event) => {
                self.event_delivered(event);
                Ok(())
            }
        }
    }
}

/// An interrupt controller of which one vector may be taken.
struct Asked {
    pending: Option<u8>,
    taken: Option<u8>,
}

impl Asked {
    fn new(interrupts: &dyn crate::l0::Interrupts) -> Self {
        Self {
            pending: interrupts.pending(),
            taken: None,
        }
    }
}

impl crate::l0::Interrupts for Asked {
    fn pending(&self) -> Option<u8> {
        self.pending
    }

    fn acknowledge(&mut self, vector: u8) {
        self.taken = Some(vector);
        self.pending = None;
    }
}

impl<W: World> Vcpu for SoftVcpu<W> {
    type Skip = SoftSkipFlag;

    fn skip_flag(&self) -> Arc<SoftSkipFlag> {
        Arc::clone(&self.skip)
    }

    fn run(&mut self) -> Result<Exit<'_>, RunError> {
        loop {
            let settled = match self.turn() {
                Ok(Out::Halt) => return Ok(Exit::Hlt),
                Ok(Out::Shutdown) => return Ok(Exit::Shutdown),
                Ok(Out::Interrupted) => return Err(RunError::Interrupted),
                Ok(Out::Exit) => self.settle(),
                Err(error) => Err(error),
            };
            match settled {
                Ok(Settled::Done) => {}
                Ok(settled) => {
                    let exit = self.engine_mut().vcpu_mut().last_exit()?;
                    return Ok(l2_access::at(exit, settled));
                }
                Err(SoftError::Run(error)) => return Err(error),
                Err(error) => {
                    self.error = Some(error);
                    return Err(RunError::Failed(libc_eio()));
                }
            }
        }
    }
}

/// EIO, as the runner wants a number.
const fn libc_eio() -> i32 {
    5
}

impl<W: World> core::fmt::Debug for SoftVcpu<W> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SoftVcpu")
            .field("vmx", &self.vmx)
            .field("catch", &self.catch)
            .field("statistics", &self.statistics())
            .finish_non_exhaustive()
    }
}
