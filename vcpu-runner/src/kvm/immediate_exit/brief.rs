// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One immediate exit: look at the vCPU, choose a mechanism, enter, look again, until the guest was
//! entered.

use std::io;
use std::time::Instant;

use kvm_bindings::{KVM_GUESTDBG_BLOCKIRQ, kvm_guest_debug};
use kvm_ioctls::VcpuFd;

use super::interrupt_window::InterruptWindow;
use super::linear_memory::Linear;
use super::mechanism::{Apply, End, Mechanism, Owner, Refusal, Tools};
use super::set_up::ImmediateExitSetUp;
use super::situation::{Situation, Sources};
use super::step::{Step, ThroughDelivery};
use super::step_and_breakpoint::StepAndBreakpoint;
use super::thread_timer::ThreadTimer;
use super::timer::{Delivered, Timer};
use crate::kvm::decode;
use crate::kvm::run_area::RunArea;
use crate::kvm::vcpu::enter;
use crate::{BriefError, Error, Evidence, ExitKind, ImmediateExit, NotEntered, RunError};

/// How often an entry is tried again because the event was not delivered with it.
const UNDELIVERED_ATTEMPTS: u32 = 8;

/// What one vCPU has for immediate exits.
#[derive(Debug)]
pub(in crate::kvm) struct BriefEntries {
    set_up: ImmediateExitSetUp,
    sources: Sources,
    timer: ThreadTimer,
    toolbox: Toolbox,
    can_block_interrupts: bool,
}

/// What KVM can do for the vCPU.
#[derive(Clone, Copy, Debug)]
pub(in crate::kvm) struct Abilities {
    /// KVM_CAP_SYNC_REGS: what KVM_RUN can leave in the run area.
    pub(in crate::kvm) sync_fields: u64,
    /// KVM_CAP_SET_GUEST_DEBUG2: the flags of KVM_SET_GUEST_DEBUG.
    pub(in crate::kvm) debug_flags: u32,
}

/// The vCPU for the time of one immediate exit.
pub(in crate::kvm) struct Entry<'a> {
    pub(in crate::kvm) fd: &'a VcpuFd,
    pub(in crate::kvm) area: &'a mut RunArea,
    pub(in crate::kvm) debug: &'a kvm_guest_debug,
    pub(in crate::kvm) wants_window: bool,
}

/// How an immediate exit came out.
pub(in crate::kvm) enum Ran {
    /// The guest was entered; `exit` says whether the run area has an exit to be handled.
    Entered { report: ImmediateExit, exit: bool },
    /// The run area has an exit from before the guest was entered.
    Before,
}

/// How one attempt came out.
enum Attempt {
    Entered {
        evidence: Evidence,
        end: End,
        /// Whether somebody else than the mechanism is to see the exit.
        exit: bool,
        /// How many instructions ran, if that is known.
        instructions: Option<u64>,
        after: Box<Situation>,
    },
    Before,
    Missed {
        halted: bool,
    },
}

/// The mechanisms, each with what it has learnt on this vCPU.
#[derive(Debug)]
struct Toolbox {
    step: Step,
    step_and_breakpoint: StepAndBreakpoint,
    interrupt_window: InterruptWindow,
    timer: Timer,
    blocked_signal: Timer,
}

impl Toolbox {
    fn get(&mut self, mechanism: Mechanism) -> &mut dyn Apply {
        match mechanism {
            Mechanism::Step => &mut self.step,
            Mechanism::StepAndBreakpoint => &mut self.step_and_breakpoint,
            Mechanism::InterruptWindow => &mut self.interrupt_window,
            Mechanism::Timer => &mut self.timer,
            Mechanism::BlockedSignal => &mut self.blocked_signal,
        }
    }
}

impl BriefEntries {
    pub(in crate::kvm) fn new(
        set_up: ImmediateExitSetUp,
        fd: &VcpuFd,
        abilities: Abilities,
    ) -> Result<Self, Error> {
        let through = match set_up.order.steps_through_delivery {
            true => ThroughDelivery::StopsInHandler,
            false => ThroughDelivery::Lost,
        };
        Ok(Self {
            sources: Sources::of(fd, abilities.sync_fields),
            timer: ThreadTimer::new(set_up.timer_signal()?)?,
            toolbox: Toolbox {
                step: Step::new(through),
                step_and_breakpoint: StepAndBreakpoint::default(),
                interrupt_window: InterruptWindow(set_up.pic),
                timer: Timer::new(Delivered::ToHandler),
                blocked_signal: Timer::new(Delivered::ToKvmRun),
            },
            can_block_interrupts: abilities.debug_flags & KVM_GUESTDBG_BLOCKIRQ != 0,
            set_up,
        })
    }

    /// Whether an event waits that an entry would deliver.
    pub(in crate::kvm) fn has_event(&self, fd: &VcpuFd) -> Result<bool, kvm_ioctls::Error> {
        Ok(!self.sources.look(fd)?.deliverable().is_empty())
    }

    /// Makes an immediate exit.
    pub(in crate::kvm) fn run(&mut self, entry: Entry<'_>) -> Result<Ran, BriefError> {
        let Entry {
            fd,
            area,
            debug,
            wants_window,
        } = entry;
        let start = Instant::now();
        let translate = |address| match fd.translate_gva(address) {
            Ok(found) if found.valid != 0 => Some(found.physical_address),
            _ => None,
        };
        let memory = Linear::new(&translate, &*self.set_up.ram);
        let mut tools = Tools {
            fd,
            area,
            timer: &mut self.timer,
            memory: &memory,
            debug,
            wants_window,
            backstop: self.set_up.backstop,
            steps_user_code: self.set_up.order.steps_user_code,
            can_block_interrupts: self.can_block_interrupts,
        };
        // Those that KVM has refused, with its error numbers.
        let mut refused: Vec<(Mechanism, i32)> = Vec::new();
        let mut attempts = 0;
        loop {
            // Before it costs anything: somebody wants the vCPU outside.
            if tools.area.is_skip_set() {
                return Err(BriefError::Skipped);
            }
            let before = self.sources.look(fd).map_err(failed)?;
            before.check_enterable()?;
            let with_event = !before.deliverable().is_empty();
            let wanted = match before.is_halted() && !with_event {
                // What would wake it is KVM's to know: a try, and not for long.
                true => &[Mechanism::BlockedSignal],
                false => self.set_up.mechanisms(with_event),
            };
            let mechanism = choose(&mut self.toolbox, wanted, &refused, &before, &tools)?;
            let apply = self.toolbox.get(mechanism);
            attempts += 1;
            let attempt = match attempt(apply, &self.sources, &before, &mut tools) {
                Err(Failed::Arm(error)) => {
                    refused.push((mechanism, error.errno()));
                    continue;
                }
                Err(Failed::Run(error)) => return Err(error),
                Ok(attempt) => attempt,
            };
            let undelivered = matches!(
                &attempt,
                Attempt::Entered { end: End::Interrupted, after, .. }
                    if before.undelivered(after)
            );
            let entered = matches!(attempt, Attempt::Entered { .. });
            apply.learn(entered && !undelivered);
            match attempt {
                // The processor was in the guest, and left it before it had delivered the event,
                // which KVM has put back. It is tried again like a miss, but not for ever: what is
                // to be delivered is foretold here, and KVM has the last word on it.
                Attempt::Entered { .. } if undelivered && attempts < UNDELIVERED_ATTEMPTS => {
                    if tools.area.is_skip_set() {
                        return Err(BriefError::Skipped);
                    }
                }
                Attempt::Entered {
                    evidence,
                    exit,
                    instructions,
                    after,
                    ..
                } => {
                    let report = ImmediateExit {
                        evidence,
                        injection: before.injection(&after),
                        instructions,
                        attempts,
                        mechanism: mechanism.name(),
                        time: start.elapsed(),
                    };
                    return Ok(Ran::Entered { report, exit });
                }
                Attempt::Before => return Ok(Ran::Before),
                Attempt::Missed { .. } if tools.area.is_skip_set() => {
                    return Err(BriefError::Skipped);
                }
                Attempt::Missed { halted: true } => return Err(NotEntered::Halted.into()),
                Attempt::Missed { .. } if attempts >= self.set_up.attempts => {
                    return Err(NotEntered::Missed {
                        attempts,
                        mechanism: mechanism.name(),
                    }
                    .into());
                }
                Attempt::Missed { .. } => {}
            }
        }
    }
}

fn failed(error: kvm_ioctls::Error) -> BriefError {
    BriefError::State(error.errno())
}

/// Why an attempt was none.
enum Failed {
    /// KVM, or the system, refuses what the mechanism needs.
    Arm(kvm_ioctls::Error),
    /// The vCPU cannot be run, or not looked at.
    Run(BriefError),
}

impl From<BriefError> for Failed {
    fn from(error: BriefError) -> Self {
        Self::Run(error)
    }
}

/// The first of `wanted` that can be used now.
fn choose(
    toolbox: &mut Toolbox,
    wanted: &[Mechanism],
    refused: &[(Mechanism, i32)],
    situation: &Situation,
    tools: &Tools<'_>,
) -> Result<Mechanism, BriefError> {
    let mut reasons = String::new();
    for &mechanism in wanted {
        let separator = if reasons.is_empty() { "" } else { "; " };
        if let Some((_, errno)) = refused.iter().find(|(found, _)| *found == mechanism) {
            let error = io::Error::from_raw_os_error(*errno);
            reasons += &format!("{separator}{mechanism}: refused: {error}");
            continue;
        }
        match toolbox.get(mechanism).prepare(situation, tools) {
            Ok(()) => return Ok(mechanism),
            Err(Refusal::Unmet(unmet)) => {
                reasons += &format!("{separator}{mechanism}: {unmet}");
            }
            Err(Refusal::Ioctl(error)) => return Err(failed(error)),
        }
    }
    if reasons.is_empty() {
        reasons.push_str("none was allowed");
    }
    Err(NotEntered::NoMechanism { reasons }.into())
}

/// Enters once.
fn attempt(
    apply: &mut dyn Apply,
    sources: &Sources,
    before: &Situation,
    tools: &mut Tools<'_>,
) -> Result<Attempt, Failed> {
    sources.prepare(tools.area);
    let armed = apply.arm(tools);
    let ran = match armed {
        Ok(()) => enter(tools.fd, tools.area),
        Err(_) => Err(RunError::Interrupted),
    };
    tools.memory.forget();
    // Whatever came: what is the user's is the user's again.
    let disarmed = apply.disarm(tools);
    let after = sources.look_after(tools.fd, tools.area);
    armed.map_err(Failed::Arm)?;
    disarmed.map_err(failed)?;
    let after = after.map_err(failed)?;
    let end = ran.and_then(|()| Ok(End::Exit(decode::exit(tools.area)?.kind())));
    // However it came out, nothing of the mechanism is left in the guest.
    let instructions = apply.settle(before, &after, end.unwrap_or(End::Interrupted), tools);
    let end = match end {
        Ok(end) => end,
        Err(RunError::Interrupted) => End::Interrupted,
        // Woken by another vCPU that starts this one.
        Err(RunError::Again) => return Err(BriefError::from(NotEntered::NotStarted).into()),
        Err(error) => return Err(BriefError::from(error).into()),
    };
    let found = before.evidence(&after);
    let (evidence, exit) = match end {
        End::Exit(kind @ (ExitKind::Debug | ExitKind::IrqWindowOpen)) => {
            let exit = apply.owner(tools) == Owner::User;
            // A window may be open before the guest is entered.
            let shown = (kind == ExitKind::Debug).then_some(Evidence::Exit(kind));
            (shown.or(found), exit)
        }
        // KVM may count an entry that the hardware has refused.
        End::Exit(ExitKind::FailEntry) => (None, true),
        End::Exit(kind) if only_from_the_guest(kind) => (Some(Evidence::Exit(kind)), true),
        End::Exit(_) => (found, true),
        End::Interrupted => (found, false),
    };
    Ok(match (evidence, exit) {
        (Some(evidence), exit) => Attempt::Entered {
            evidence,
            end,
            exit,
            instructions,
            after: Box::new(after),
        },
        (None, true) => Attempt::Before,
        (None, false) => Attempt::Missed {
            halted: after.is_halted(),
        },
    })
}

/// Whether only a guest that runs makes this exit. The rest may also come from what KVM does before
/// it enters.
fn only_from_the_guest(kind: ExitKind) -> bool {
    matches!(
        kind,
        ExitKind::IoIn
            | ExitKind::IoOut
            | ExitKind::MmioRead
            | ExitKind::MmioWrite
            | ExitKind::Hlt
            | ExitKind::Hypercall
            | ExitKind::ReadMsr
            | ExitKind::WriteMsr
    )
}
