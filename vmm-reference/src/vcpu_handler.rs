// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the VMM does with a vCPU's exits and requests, on the vCPU's thread.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use kvm_bindings::{KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN};
use kvm_ioctls::VcpuFd;
use nested_vmx::soft::SoftVcpu;
use vcpu_requests::requests;
use vcpu_runner::kvm::KvmVcpu;
use vcpu_runner::{Exit, Flow, Handler, Vcpu};
use vm_memory::GuestMemoryMmap;

use crate::devices::PortBus;
use crate::guest_instruction::GuestInstruction;
use crate::internal_error::{InternalError, instruction_bytes};
use crate::outcome::{FirstOutcome, Outcome};
use crate::soft::{Chipset, SoftWorld};

requests! {
    /// What the VMM asks of its vCPUs, beside what every [`vcpu_runner::VcpuHandle`] can ask.
    pub enum VcpuRequest {
        /// Show the registers and the instruction at RIP on standard error. A halted vCPU shows
        /// them too.
        ShowRegisters = 0,
        /// An interrupt may wait in the VMM's own interrupt controllers, or one of their timers is
        /// due.
        Event = 1,
    }
}

/// A vCPU as the VMM's threads run it.
pub trait MachineVcpu: Vcpu {
    /// The vCPU of KVM's that has the guest's registers.
    fn kvm(&self) -> &VcpuFd;

    /// What made the vCPU fail, where its thread's end does not tell.
    fn take_failure(&mut self) -> Option<String> {
        None
    }
}

impl MachineVcpu for KvmVcpu {
    fn kvm(&self) -> &VcpuFd {
        self.fd()
    }
}

impl MachineVcpu for SoftVcpu<SoftWorld> {
    fn kvm(&self) -> &VcpuFd {
        self.running().fd()
    }

    fn take_failure(&mut self) -> Option<String> {
        self.take_error().map(|error| error.to_string())
    }
}

/// Handles the exits and requests of one vCPU.
pub struct VcpuHandler {
    index: u8,
    ports: Arc<PortBus>,
    memory: GuestMemoryMmap,
    first: Arc<FirstOutcome>,
    /// The interrupt controllers, where they are not KVM's.
    chipset: Option<Arc<Chipset>>,
    fatal: Option<FatalExit>,
}

/// An exit that ends the run and is looked into with the registers at hand.
enum FatalExit {
    TripleFault,
    InternalError { suberror: u32, data: Vec<u64> },
}

impl VcpuHandler {
    /// For vCPU `index`. Why the run ends is reported to `first`.
    pub fn new(
        index: u8,
        ports: Arc<PortBus>,
        memory: GuestMemoryMmap,
        first: Arc<FirstOutcome>,
    ) -> Self {
        Self {
            index,
            ports,
            memory,
            first,
            chipset: None,
            fatal: None,
        }
    }

    /// The interrupt controllers are these, not KVM's.
    #[must_use]
    pub fn with_chipset(mut self, chipset: Arc<Chipset>) -> Self {
        self.chipset = Some(chipset);
        self
    }

    fn end(&self, outcome: Outcome) -> Flow {
        self.first.report(outcome);
        Flow::Stop
    }

    /// The guest goes on, unless what it did has ended the run.
    fn unless_ended(&self) -> Flow {
        match self.first.is_reported() {
            true => Flow::Stop,
            false => Flow::Continue,
        }
    }

    fn instruction(&self, vcpu: &VcpuFd, known: Option<&[u8]>) -> Option<GuestInstruction> {
        GuestInstruction::at_rip(vcpu, &self.memory, known)
            .inspect_err(|error| log::warn!("vCPU {}: no registers: {error}", self.index))
            .ok()
    }

    fn show_registers(&self, vcpu: &VcpuFd) -> Result<(), kvm_ioctls::Error> {
        let (regs, sregs) = (vcpu.get_regs()?, vcpu.get_sregs()?);
        let mut text = format!("vmm-reference: vCPU {}: ", self.index);
        // Writing to a String cannot fail.
        let _ = match self.instruction(vcpu, None) {
            Some(at) => writeln!(text, "{at}"),
            None => writeln!(text, "RIP {:#x}", regs.rip),
        };
        let _ = writeln!(
            text,
            "  rax {:016x} rbx {:016x} rcx {:016x} rdx {:016x}\n  \
               rsi {:016x} rdi {:016x} rbp {:016x} rsp {:016x}\n  \
               r8  {:016x} r9  {:016x} r10 {:016x} r11 {:016x}\n  \
               r12 {:016x} r13 {:016x} r14 {:016x} r15 {:016x}\n  \
               rflags {:x} cs {:x} cr0 {:x} cr2 {:x} cr3 {:x} cr4 {:x} efer {:x}",
            regs.rax,
            regs.rbx,
            regs.rcx,
            regs.rdx,
            regs.rsi,
            regs.rdi,
            regs.rbp,
            regs.rsp,
            regs.r8,
            regs.r9,
            regs.r10,
            regs.r11,
            regs.r12,
            regs.r13,
            regs.r14,
            regs.r15,
            regs.rflags,
            sregs.cs.selector,
            sregs.cr0,
            sregs.cr2,
            sregs.cr3,
            sregs.cr4,
            sregs.efer,
        );
        // One write, so that vCPUs do not mix; a closed standard error is nobody's loss.
        let _ = std::io::stderr().write_all(text.as_bytes());
        Ok(())
    }
}

impl<V: MachineVcpu> Handler<V> for VcpuHandler {
    type Request = VcpuRequest;
    type Error = Infallible;

    fn exit(&mut self, exit: Exit<'_>) -> Result<Flow, Infallible> {
        Ok(match exit {
            Exit::IoOut { port, size, data } => {
                self.ports.write(port, size, data);
                self.unless_ended()
            }
            Exit::IoIn { port, size, data } => {
                self.ports.read(port, size, data);
                self.unless_ended()
            }
            Exit::MmioRead { address, data } => {
                let chipset = self.chipset.as_ref();
                if chipset.is_some_and(|chipset| chipset.read_memory(address, data)) {
                    return Ok(Flow::Continue);
                }
                // Where no device is, reads float high and writes go nowhere.
                log::trace!(
                    "read of {} bytes at {address:#x}, where nothing is",
                    data.len()
                );
                data.fill(0xff);
                Flow::Continue
            }
            Exit::MmioWrite { address, data } => {
                let chipset = self.chipset.as_ref();
                if chipset.is_some_and(|chipset| chipset.write_memory(address, data)) {
                    return Ok(Flow::Continue);
                }
                log::trace!("write of {data:02x?} at {address:#x}, where nothing is");
                Flow::Continue
            }
            // What wakes the guest is the VMM's to know.
            Exit::Hlt if self.chipset.is_some() => Flow::Halt,
            Exit::Shutdown => {
                self.fatal = Some(FatalExit::TripleFault);
                Flow::Inspect
            }
            Exit::InternalError { suberror, data } => {
                let data = data.to_vec();
                self.fatal = Some(FatalExit::InternalError { suberror, data });
                Flow::Inspect
            }
            Exit::SystemEvent {
                kind: KVM_SYSTEM_EVENT_SHUTDOWN,
                ..
            } => self.end(Outcome::PowerOff),
            Exit::SystemEvent {
                kind: KVM_SYSTEM_EVENT_RESET,
                ..
            } => self.end(Outcome::Reset),
            Exit::FailEntry { reason, cpu } => self.end(Outcome::EntryFailed {
                vcpu: self.index,
                reason,
                cpu,
            }),
            other => self.end(Outcome::UnexpectedExit {
                vcpu: self.index,
                exit: format!("{other:x?}"),
            }),
        })
    }

    fn request(&mut self, request: VcpuRequest, vcpu: &mut V) -> Result<Flow, Infallible> {
        Ok(match request {
            VcpuRequest::ShowRegisters => {
                if let Err(error) = self.show_registers(vcpu.kvm()) {
                    log::error!("vCPU {}: cannot get the registers: {error}", self.index);
                }
                Flow::Continue
            }
            // A guest that is halted looks whether there is something for it.
            VcpuRequest::Event => Flow::Runnable,
        })
    }

    fn needs_registers(&self, request: VcpuRequest) -> bool {
        match request {
            VcpuRequest::ShowRegisters => true,
            VcpuRequest::Event => false,
        }
    }

    fn inspect(&mut self, vcpu: &mut V) -> Result<Flow, Infallible> {
        Ok(match self.fatal.take() {
            Some(FatalExit::TripleFault) => self.end(Outcome::TripleFault {
                vcpu: self.index,
                at: self
                    .instruction(vcpu.kvm(), None)
                    .filter(|at| !is_reset_vector(at)),
            }),
            Some(FatalExit::InternalError { suberror, data }) => {
                let known = instruction_bytes(suberror, &data);
                let at = self.instruction(vcpu.kvm(), known.as_deref());
                self.end(Outcome::InternalError {
                    vcpu: self.index,
                    error: InternalError { suberror, data, at },
                })
            }
            None => Flow::Continue,
        })
    }
}

/// On AMD processors KVM has put the vCPU back to its reset state by then.
fn is_reset_vector(at: &GuestInstruction) -> bool {
    at.rip == 0xfff0
}

#[cfg(test)]
mod tests {
    use vm_memory::GuestAddress;

    use super::*;
    use crate::devices::{I8042, PortBus};

    fn handler() -> (VcpuHandler, Arc<FirstOutcome>) {
        let first = Arc::new(FirstOutcome::new().unwrap());
        let reporting = first.clone();
        let i8042 = I8042::new(move || reporting.report(Outcome::Reset));
        let mut ports = PortBus::new();
        ports.register(0x64, 1, Arc::new(i8042)).unwrap();
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 4096)]).unwrap();
        let handler = VcpuHandler::new(1, Arc::new(ports), memory, first.clone());
        (handler, first)
    }

    /// As a vCPU of KVM's has it handled.
    fn exit(handler: &mut VcpuHandler, exit: Exit<'_>) -> Result<Flow, Infallible> {
        Handler::<KvmVcpu>::exit(handler, exit)
    }

    fn outcome_of(exited: Exit<'_>) -> String {
        let (mut handler, first) = handler();
        let Ok(flow) = exit(&mut handler, exited);
        assert_eq!(flow, Flow::Stop);
        first.get().unwrap().name().to_owned()
    }

    #[test]
    fn the_vcpu_that_ends_the_run_stops_at_once() {
        let (mut handler, first) = handler();
        let data = &[0xfe];
        let mut out = |port| {
            exit(
                &mut handler,
                Exit::IoOut {
                    port,
                    size: 1,
                    data,
                },
            )
        };
        assert_eq!(out(0x80), Ok(Flow::Continue));
        assert_eq!(out(0x64), Ok(Flow::Stop));
        assert_eq!(first.get().unwrap().name(), "reset");
    }

    #[test]
    fn another_vcpu_stops_at_its_next_port_access() {
        let (mut handler, first) = handler();
        let mut data = [0];
        let mut read = || {
            exit(
                &mut handler,
                Exit::IoIn {
                    port: 0x80,
                    size: 1,
                    data: &mut data,
                },
            )
        };
        assert_eq!(read(), Ok(Flow::Continue));
        first.report(Outcome::PowerOff);
        assert_eq!(read(), Ok(Flow::Stop));
        assert_eq!(data, [0xff]);
    }

    #[test]
    fn nothing_is_in_memory() {
        let (mut handler, first) = handler();
        let mut data = [0; 8];
        let read = Exit::MmioRead {
            address: u64::MAX,
            data: &mut data,
        };
        assert_eq!(exit(&mut handler, read), Ok(Flow::Continue));
        assert_eq!(data, [0xff; 8]);
        let write = Exit::MmioWrite {
            address: 0,
            data: &data,
        };
        assert_eq!(exit(&mut handler, write), Ok(Flow::Continue));
        assert!(!first.is_reported());
    }

    #[test]
    fn other_exits_end_the_run_by_their_names() {
        let event = |kind| Exit::SystemEvent { kind, data: &[] };
        assert_eq!(outcome_of(event(KVM_SYSTEM_EVENT_SHUTDOWN)), "poweroff");
        assert_eq!(outcome_of(event(KVM_SYSTEM_EVENT_RESET)), "reset");
        assert_eq!(outcome_of(event(99)), "unexpected_exit");
        assert_eq!(outcome_of(Exit::Hlt), "unexpected_exit");
        assert_eq!(outcome_of(Exit::Other { reason: 77 }), "unexpected_exit");
        let refused = Exit::FailEntry { reason: 7, cpu: 0 };
        assert_eq!(outcome_of(refused), "entry_failed");
    }

    #[test]
    fn fatal_exits_are_looked_into() {
        let (mut handler, first) = handler();
        assert_eq!(exit(&mut handler, Exit::Shutdown), Ok(Flow::Inspect));
        let error = Exit::InternalError {
            suberror: 1,
            data: &[],
        };
        assert_eq!(exit(&mut handler, error), Ok(Flow::Inspect));
        assert!(!first.is_reported(), "before the registers are at hand");
    }
}
