// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What each mechanism does on the host at hand: measured, with a guest of a few instructions.

use std::sync::Arc;
use std::time::Duration;

use kvm_ioctls::Kvm;
use vm_memory::{Bytes, GuestAddress};

use super::guest_ram::GuestRam;
use super::interrupt_window::Pic;
use super::mechanism::Mechanism;
use super::order::MechanismOrder;
use super::set_up::ImmediateExitSetUp;
use crate::kvm::probe_guest::{ProbeError, ProbeGuest, ioctl};
use crate::{BriefError, BriefRun, ImmediateExit, NotEntered, Vcpu};

/// Entries for each mechanism, with an event and without.
const ENTRIES: usize = 12;
/// One that lets the guest run this far does not stop it, and is not measured any longer.
const HOPELESS: Duration = Duration::from_millis(3);
/// The first entries of a new guest fault its memory in.
const WARM_UP: usize = 2;

/// The vector of the event that is injected.
const VECTOR: u8 = 0x40;
/// The guest: NOPs, then a loop that counts in RCX. The handler is one more of the same.
const NOPS: usize = 4096;
const LOOP: [u8; 5] = [0x48, 0xff, 0xc1, 0xeb, 0xfb]; // inc rcx; jmp to it
const PROGRAM: u64 = ProbeGuest::FREE;
const HANDLER: u64 = ProbeGuest::FREE + 0x8000;

/// What was measured of a mechanism, in entries of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Guest instructions let through: median.
    pub instructions: u64,
    /// Guest instructions let through: most.
    pub most_instructions: u64,
    /// Time that an immediate exit takes, attempts that missed included: median.
    pub time: Duration,
    /// Entries that were made.
    pub entries: u32,
    /// Attempts that missed.
    pub missed: u32,
}

/// One mechanism on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Which.
    pub mechanism: Mechanism,
    /// Where an event is delivered; the instructions are its handler's. Else why it cannot be used.
    pub with_event: Result<Sample, String>,
    /// Where none is. Else why it cannot be used.
    pub without_event: Result<Sample, String>,
}

/// The mechanisms that a host has, measured. To be asked for once and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostMechanisms {
    measured: Vec<Measured>,
    steps_user_code: bool,
}

impl HostMechanisms {
    /// Measures all mechanisms on this host, in a VM of its own: some milliseconds, or some tens
    /// where a mechanism does not do what it should.
    ///
    /// A thread that is kicked meanwhile misses entries, which are counted.
    ///
    /// # Errors
    /// [`ProbeError`] if there can be no guest to measure with. A mechanism that does not work is no
    /// error.
    pub fn measure(kvm: &Kvm) -> Result<Self, ProbeError> {
        let measured = Mechanism::ALL.iter().map(|&mechanism| {
            let mut bench = Bench::new(kvm, mechanism)?;
            Ok(Measured {
                mechanism,
                with_event: bench.measure(Delivery::Event)?,
                without_event: bench.measure(Delivery::Nothing)?,
            })
        });
        Ok(Self {
            measured: measured.collect::<Result<_, ProbeError>>()?,
            steps_user_code: steps_user_code(kvm)?,
        })
    }

    /// Whether a single step of guest user code stops after one instruction. There are hosts on which
    /// it does only in guest kernels: the guest gets the debug exception.
    pub fn steps_user_code(&self) -> bool {
        self.steps_user_code
    }

    /// What was measured, in the order of [`Mechanism::ALL`].
    pub fn measured(&self) -> &[Measured] {
        &self.measured
    }

    /// The mechanisms that work here, strongest first: those that stop the guest, in the order of the
    /// instructions that they let through; then the timers, which may let through none but promise
    /// nothing; then those that were seen not to stop it. Of equals the quickest.
    pub fn order(&self) -> MechanismOrder {
        let step = self
            .measured
            .iter()
            .find(|measured| measured.mechanism == Mechanism::Step);
        MechanismOrder {
            with_event: self.sorted(|measured| measured.with_event.as_ref().ok()),
            without_event: self.sorted(|measured| measured.without_event.as_ref().ok()),
            steps_through_delivery: step
                .and_then(|step| step.with_event.as_ref().ok())
                .is_some_and(|sample| sample.most_instructions <= 1),
            steps_user_code: self.steps_user_code,
        }
    }

    fn sorted(&self, sample: impl Fn(&Measured) -> Option<&Sample>) -> Vec<Mechanism> {
        let mut found: Vec<_> = self
            .measured
            .iter()
            .filter_map(|measured| Some((measured.mechanism, *sample(measured)?)))
            .collect();
        found.sort_by_key(|(mechanism, sample)| {
            let class = match mechanism {
                Mechanism::Timer | Mechanism::BlockedSignal => Class::HitsOrMisses,
                _ if sample.most_instructions <= 1 => Class::Stops,
                _ => Class::DoesNotStop,
            };
            (class, sample.instructions, sample.time)
        });
        found.into_iter().map(|(mechanism, _)| mechanism).collect()
    }
}

/// What a mechanism is good for on this host, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Stops,
    HitsOrMisses,
    DoesNotStop,
}

/// Tries whether a single step of guest user code stops after one instruction, in a VM of its own. See
/// [`HostMechanisms::steps_user_code`], which has measured that as well.
///
/// # Errors
/// [`ProbeError`] if there can be no guest to try it with.
pub fn steps_user_code(kvm: &Kvm) -> Result<bool, ProbeError> {
    let bench = Bench::new(kvm, Mechanism::Step)?;
    let Bench(mut guest) = bench;
    guest.enter_user_mode()?;
    guest.restart_at(PROGRAM, 0)?;
    let stepped = matches!(
        guest.vcpu().run_briefly(),
        Ok(BriefRun::Entered { exit: None, .. })
    );
    let regs = guest.vcpu().fd().get_regs();
    let rip = regs.map_err(ioctl("KVM_GET_REGS"))?.rip;
    Ok(stepped && rip == PROGRAM + 1)
}

/// What an entry is to deliver.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Event,
    Nothing,
}

/// A guest with one mechanism.
struct Bench(ProbeGuest);

impl Bench {
    fn new(kvm: &Kvm, mechanism: Mechanism) -> Result<Self, ProbeError> {
        let mut guest = ProbeGuest::new(kvm, &[])?;
        let sled = [&[0x90; NOPS][..], &LOOP].concat();
        for address in [PROGRAM, HANDLER] {
            guest
                .memory()
                .write_slice(&sled, GuestAddress(address))
                .map_err(|error| ProbeError::Memory(error.to_string()))?;
        }
        guest.set_handler(VECTOR, HANDLER)?;
        let ram: Arc<dyn GuestRam> = guest.memory().clone();
        let set_up = ImmediateExitSetUp::new(MechanismOrder::only(mechanism), ram)
            .pic(Pic::InUserspace)
            .backstop(HOPELESS);
        guest.vcpu().set_up_immediate_exit(set_up)?;
        Ok(Self(guest))
    }

    fn measure(&mut self, delivery: Delivery) -> Result<Result<Sample, String>, ProbeError> {
        let mut entries: Vec<(u64, ImmediateExit)> = Vec::new();
        for round in 0..WARM_UP + ENTRIES {
            let report = match self.enter(delivery)? {
                Ok(report) => report,
                Err(why) => return Ok(Err(why)),
            };
            let executed = self.executed(delivery)?;
            if round < WARM_UP {
                continue;
            }
            let time = report.time;
            entries.push((executed, report));
            if time >= HOPELESS && entries.len() >= 2 {
                break;
            }
        }
        let missed = entries.iter().map(|(_, report)| report.attempts - 1).sum();
        let mut instructions: Vec<_> = entries.iter().map(|(count, _)| *count).collect();
        let mut times: Vec<_> = entries.iter().map(|(_, report)| report.time).collect();
        instructions.sort_unstable();
        times.sort_unstable();
        let middle = entries.len() / 2;
        Ok(Ok(Sample {
            instructions: instructions.get(middle).copied().unwrap_or_default(),
            most_instructions: instructions.last().copied().unwrap_or_default(),
            time: times.get(middle).copied().unwrap_or_default(),
            entries: u32::try_from(entries.len()).unwrap_or(u32::MAX),
            missed,
        }))
    }

    /// Enters once, from the beginning.
    fn enter(&mut self, delivery: Delivery) -> Result<Result<ImmediateExit, String>, ProbeError> {
        let Self(guest) = self;
        guest.restart_at(PROGRAM, 0)?;
        let vcpu = guest.vcpu();
        if delivery == Delivery::Event {
            vcpu.interrupt(VECTOR).map_err(ioctl("KVM_INTERRUPT"))?;
        }
        let unexpected = match vcpu.run_briefly() {
            Ok(BriefRun::Entered { report, exit: None }) => return Ok(Ok(report)),
            Ok(BriefRun::Entered {
                exit: Some(exit), ..
            })
            | Ok(BriefRun::Before(exit)) => format!("{exit:?}"),
            Err(BriefError::NotEntered(NotEntered::NoMechanism { reasons })) => reasons
                .split_once(": ")
                .map_or(reasons.clone(), |(_mechanism, why)| why.to_owned()),
            Err(BriefError::NotEntered(why)) => why.to_string(),
            Err(other) => format!("{other:?}"),
        };
        // What was not delivered is not to meet the next entry.
        let none = Default::default();
        let fd = vcpu.fd();
        fd.set_vcpu_events(&none)
            .map_err(ioctl("KVM_SET_VCPU_EVENTS"))?;
        Ok(Err(unexpected))
    }

    /// How many instructions the guest has executed, of the handler's where an event was delivered.
    fn executed(&mut self, delivery: Delivery) -> Result<u64, ProbeError> {
        let fd = self.0.vcpu().fd();
        let regs = fd.get_regs().map_err(ioctl("KVM_GET_REGS"))?;
        let start = match delivery {
            Delivery::Event => HANDLER,
            Delivery::Nothing => PROGRAM,
        };
        let nops = NOPS as u64;
        Ok(match regs.rip.wrapping_sub(start) {
            index if index < nops => index,
            // At the INC after two instructions a round, at the JMP after one less.
            index if index == nops => nops + 2 * regs.rcx,
            _ => (nops + 2 * regs.rcx).saturating_sub(1),
        })
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    fn measured(mechanism: Mechanism, instructions: u64, most: u64, micros: u64) -> Measured {
        let sample = Sample {
            instructions,
            most_instructions: most,
            time: Duration::from_micros(micros),
            entries: 12,
            missed: 0,
        };
        Measured {
            mechanism,
            with_event: Ok(sample),
            without_event: Err("no".to_owned()),
        }
    }

    /// A timer that was lucky twelve times is not stronger than what stops the guest.
    #[test]
    fn what_stops_the_guest_comes_before_what_may_hit_it() {
        let host = HostMechanisms {
            measured: vec![
                measured(Mechanism::Step, 900_000, 1_000_000, 5000),
                measured(Mechanism::StepAndBreakpoint, 0, 0, 90),
                measured(Mechanism::Timer, 0, 0, 30),
                measured(Mechanism::BlockedSignal, 0, 4000, 20),
            ],
            steps_user_code: false,
        };
        let order = host.order();
        assert_eq!(
            order.with_event,
            [
                Mechanism::StepAndBreakpoint,
                Mechanism::BlockedSignal,
                Mechanism::Timer,
                Mechanism::Step,
            ]
        );
        assert!(order.without_event.is_empty() && !order.steps_through_delivery);
        let mut stops = host.clone();
        stops.measured[0] = measured(Mechanism::Step, 1, 1, 10);
        let order = stops.order();
        assert_eq!(
            order.with_event[..2],
            [Mechanism::StepAndBreakpoint, Mechanism::Step]
        );
        assert!(order.steps_through_delivery);
    }
}
