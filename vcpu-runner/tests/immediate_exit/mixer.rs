// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A handler that injects what it is asked to, and keeps count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use guest_programs::Guest;
use vcpu_requests::requests;
use vcpu_runner::kvm::KvmVcpu;
use vcpu_runner::{Exit, Flow, Handler, ImmediateExit, Injection, NotEntered, VcpuHandle};
use vm_memory::GuestMemoryMmap;

use crate::irregular::Irregular;

requests! {
    /// What is asked of the mixer.
    pub enum Ask {
        /// Inject an external interrupt.
        Interrupt = 0,
        /// Inject an NMI.
        Nmi = 1,
        /// Inject an exception.
        Exception = 2,
        /// Nothing.
        Look = 3,
        /// Leave the guest, and wait for that.
        Leave = 4: WAIT,
    }
}

pub type Handle = VcpuHandle<KvmVcpu, Ask>;

/// The events, as indices.
const INTERRUPT: usize = 0;
const NMI: usize = 1;
const EXCEPTION: usize = 2;
const RFLAGS_IF: u64 = 1 << 9;

/// Exceptions without error code that nothing in the guest raises: one for each vCPU, since a guest's
/// counter is not locked. Not 3 and 4, which are an instruction's.
const EXCEPTIONS: [u8; 8] = [0, 5, 6, 7, 9, 16, 18, 19];

/// What was injected into one vCPU, and what was seen.
#[derive(Debug, Default)]
pub struct Ledger {
    injected: [AtomicU32; 3],
    /// Immediate exits that delivered what was injected.
    pub delivered: AtomicU64,
    /// Immediate exits that left something waiting.
    pub waiting: AtomicU64,
    /// Immediate exits of a halted guest.
    pub halted: AtomicU64,
}

/// The vectors of one vCPU's events.
#[derive(Clone, Copy, Debug)]
pub struct Vectors([Option<u8>; 3]);

impl Vectors {
    /// Of vCPU `index`. NMIs, which all have the same vector, are the first vCPU's alone.
    pub fn of(index: u8) -> Self {
        Self([
            Some(0x20 + index),
            (index == 0).then_some(2),
            EXCEPTIONS.get(usize::from(index)).copied(),
        ])
    }

    /// For each event, how often it was injected and how often the guest has counted it.
    pub fn counts<'a>(
        &'a self,
        ledger: &'a Ledger,
        guest: &'a Guest,
        memory: &'a GuestMemoryMmap,
    ) -> impl Iterator<Item = (u8, u32, u32)> + 'a {
        self.0
            .iter()
            .zip(&ledger.injected)
            .filter_map(move |(vector, injected)| {
                let vector = (*vector)?;
                let counted = guest.count(memory, vector).unwrap();
                Some((vector, injected.load(Ordering::Acquire), counted))
            })
    }
}

pub struct Mixer {
    pub guest: Guest,
    pub memory: Arc<GuestMemoryMmap>,
    pub vectors: Vectors,
    pub ledger: Arc<Ledger>,
    pub handle: Option<Handle>,
    pub irregular: Irregular,
    /// An interrupt waits for the guest to take it.
    pub wants_interrupt: bool,
}

impl Mixer {
    /// Whether the last event of this kind was counted, so that handlers do not pile up.
    fn is_counted(&self, kind: usize) -> Option<u8> {
        let vector = self.vectors.0[kind]?;
        let counted = self.guest.count(&self.memory, vector).unwrap();
        (counted == self.ledger.injected[kind].load(Ordering::Relaxed)).then_some(vector)
    }

    fn injected(&mut self, kind: usize) -> Flow {
        self.ledger.injected[kind].fetch_add(1, Ordering::Release);
        // As L0 does that finds an event for L1 while L1 enters L2.
        if self.irregular.below(2) == 0
            && let Some(handle) = &self.handle
        {
            handle.request_immediate_exit().unwrap();
        }
        Flow::Runnable
    }

    /// Injects an interrupt, or waits until the guest takes one.
    fn interrupt(&mut self, vcpu: &mut KvmVcpu) -> Flow {
        let Some(vector) = self.is_counted(INTERRUPT) else {
            return Flow::Continue;
        };
        let interrupts_on = vcpu.fd().get_regs().unwrap().rflags & RFLAGS_IF != 0;
        self.wants_interrupt = !(interrupts_on && nothing_waits(vcpu));
        vcpu.request_interrupt_window(self.wants_interrupt);
        if self.wants_interrupt {
            return Flow::Continue;
        }
        vcpu.interrupt(vector).unwrap();
        self.injected(INTERRUPT)
    }

    fn nmi(&mut self, vcpu: &mut KvmVcpu) -> Flow {
        match self.is_counted(NMI) {
            Some(_) => {
                vcpu.fd().nmi().unwrap();
                self.injected(NMI)
            }
            None => Flow::Continue,
        }
    }

    fn exception(&mut self, vcpu: &mut KvmVcpu) -> Flow {
        let Some(vector) = self.is_counted(EXCEPTION).filter(|_| nothing_waits(vcpu)) else {
            return Flow::Continue;
        };
        let mut events = vcpu.fd().get_vcpu_events().unwrap();
        events.exception.injected = 1;
        events.exception.nr = vector;
        vcpu.fd().set_vcpu_events(&events).unwrap();
        self.injected(EXCEPTION)
    }
}

/// Whether no event is on its way into the guest already, and none is held back for one instruction.
fn nothing_waits(vcpu: &KvmVcpu) -> bool {
    let events = vcpu.fd().get_vcpu_events().unwrap();
    let waits = [
        events.exception.injected,
        events.exception.pending,
        events.interrupt.injected,
        events.interrupt.shadow,
        events.nmi.injected,
        events.nmi.pending,
    ];
    waits == [0; 6]
}

impl Handler<KvmVcpu> for Mixer {
    type Request = Ask;
    type Error = String;

    fn exit(&mut self, exit: Exit<'_>) -> Result<Flow, String> {
        match exit {
            Exit::Hlt => Ok(Flow::Halt),
            Exit::IoOut { .. } => Ok(Flow::Continue),
            Exit::IrqWindowOpen => Ok(Flow::Inspect),
            other => Err(format!("{other:?}")),
        }
    }

    fn inspect(&mut self, vcpu: &mut KvmVcpu) -> Result<Flow, String> {
        Ok(self.interrupt(vcpu))
    }

    fn request(&mut self, ask: Ask, vcpu: &mut KvmVcpu) -> Result<Flow, String> {
        Ok(match ask {
            Ask::Interrupt => self.interrupt(vcpu),
            Ask::Nmi => self.nmi(vcpu),
            Ask::Exception => self.exception(vcpu),
            Ask::Look | Ask::Leave => Flow::Continue,
        })
    }

    fn needs_registers(&self, ask: Ask) -> bool {
        !matches!(ask, Ask::Look | Ask::Leave)
    }

    fn immediate_exit(
        &mut self,
        result: &Result<ImmediateExit, NotEntered>,
        _: &mut KvmVcpu,
    ) -> Result<Flow, String> {
        let counter = match result {
            Ok(report) if report.injection == Injection::Waits => &self.ledger.waiting,
            Ok(_) => &self.ledger.delivered,
            Err(NotEntered::Halted) => &self.ledger.halted,
            Err(why) => return Err(why.to_string()),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(Flow::Continue)
    }
}
