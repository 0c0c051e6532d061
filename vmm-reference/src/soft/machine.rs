// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The machine with VMX in software: two VMs, a vCPU in each, and one virtual processor of both.

use std::io;
use std::sync::Arc;

use kvm_bindings::kvm_cpuid_entry2;
use kvm_ioctls::{Kvm, VcpuFd};
use nested_vmx::soft::{Catch, SoftError, SoftVcpu, UserStep, offered};
use thiserror::Error;
use vcpu_runner::kvm::immediate_exit::{
    GuestRam, ImmediateExitSetUp, MechanismOrder, Pic, steps_user_code,
};
use vcpu_runner::kvm::{KvmVcpu, ProbeError};
use vm_memory::GuestMemoryMmap;

use super::alarm::Alarm;
use super::capabilities::{processor, show_vmx};
use super::chipset::Chipset;
use super::l1_ram::L1Ram;
use super::l2_vm::L2Vm;
use super::probe::vmx_instructions_exit;
use super::world::SoftWorld;
use crate::vcpu_setup::{VcpuSetup, VcpuSetupError};
use crate::vm::{InterruptControllers, Vm, VmError};

/// Why there is no such machine.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SoftMachineError {
    /// KVM refused something.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// A vCPU cannot be set up.
    #[error(transparent)]
    Setup(#[from] VcpuSetupError),
    /// A vCPU cannot be run.
    #[error(transparent)]
    Vcpu(#[from] vcpu_runner::Error),
    /// Nested VMX cannot be had.
    #[error(transparent)]
    Soft(#[from] SoftError),
    /// The host's processor has what contradicts VMX.
    #[error("VMX cannot be offered: {0}")]
    Capabilities(#[from] nested_vmx::capability::NarrowError),
    /// VMX instructions do not exit.
    #[error(
        "this host's KVM does not come back from a guest's VMX instructions, so that `catch=exits` \
         would miss them: use catch=stops, or leave catch out"
    )]
    NoExits,
    /// What the host does cannot be found out.
    #[error("cannot try what KVM does with VMX instructions and with steps: {0}")]
    Probe(#[from] ProbeError),
    /// No timer is to be had.
    #[error("cannot make a timer: {0}")]
    Alarm(io::Error),
}

/// The machine.
pub struct SoftMachine {
    // The vCPUs go before the VM whose memory they use.
    /// Its virtual processor.
    pub vcpu: SoftVcpu<SoftWorld>,
    /// Its interrupt controllers and its timer.
    pub chipset: Arc<Chipset>,
    /// What wakes the vCPU.
    pub alarm: Alarm,
    /// The VM of L1.
    pub vm: Vm,
}

/// The L2 view's memory is nobody's to look at for an immediate exit: its mechanisms do without.
struct NoRam;

impl GuestRam for NoRam {
    fn read(&self, _address: u64, _data: &mut [u8]) -> bool {
        false
    }

    fn write(&self, _address: u64, _data: &[u8]) -> bool {
        false
    }
}

/// The TSC's frequency where KVM does not tell.
const UNKNOWN_TSC_KHZ: u32 = 1_000_000;

impl SoftMachine {
    /// Makes the machine with this memory. `begin` gives the vCPU its first registers.
    ///
    /// # Errors
    /// [`SoftMachineError`]
    pub fn new(
        kvm: &Kvm,
        memory: GuestMemoryMmap,
        catch: Option<Catch>,
        begin: impl FnOnce(&VcpuFd) -> Result<(), VmError>,
    ) -> Result<Self, SoftMachineError> {
        let catch = chosen(kvm, catch)?;
        let l2_vm = L2Vm::new(kvm, memory.clone())?;
        let vm = Vm::with_interrupts(kvm, memory.clone(), InterruptControllers::Vmm)?;
        // VMCALL of L1's user code is an exception then, as other VMX instructions are.
        vm.keep_hypercalls()?;
        let setup = VcpuSetup::new(kvm)?;
        let mut entries: Vec<kvm_cpuid_entry2> = Vec::new();
        let mut vcpu = |fd: &VcpuFd| {
            setup.apply_with(fd, |shown| {
                show_vmx(shown);
                entries = shown.to_vec();
            })
        };
        let whole = vm.create_vcpu(0)?;
        vcpu(&whole)?;
        let for_view = l2_vm.create_vcpu()?;
        vcpu(&for_view)?;
        begin(&whole)?;
        let tsc_khz = whole.get_tsc_khz().unwrap_or(UNKNOWN_TSC_KHZ);
        let with_immediate_exit = |fd, ram: Arc<dyn GuestRam>| {
            let mut vcpu = KvmVcpu::new(kvm, fd)?;
            let order = MechanismOrder::unmeasured();
            let set_up = ImmediateExitSetUp::new(order, ram).pic(Pic::InUserspace);
            vcpu.set_up_immediate_exit(set_up)?;
            Ok::<_, vcpu_runner::Error>(vcpu)
        };
        let whole = with_immediate_exit(whole, Arc::new(memory.clone()))?;
        let for_view = with_immediate_exit(for_view, Arc::new(NoRam))?;
        let chipset = Arc::new(Chipset::new(tsc_khz));
        let alarm = Alarm::new().map_err(SoftMachineError::Alarm)?;
        let world = SoftWorld::new(L1Ram::new(memory), chipset.clone(), alarm.clone());
        let capabilities = offered(processor(&entries))?;
        let user_step = match steps_user_code(kvm)? {
            true => UserStep::Debugging,
            false => UserStep::Trap,
        };
        let vcpu = SoftVcpu::new(&capabilities, whole, for_view, Box::new(l2_vm), world)?
            .catching(catch)
            .stepping_user_code(user_step);
        Ok(Self {
            vcpu,
            chipset,
            alarm,
            vm,
        })
    }
}

/// The way that was asked for, if this host has it.
fn chosen(kvm: &Kvm, catch: Option<Catch>) -> Result<Catch, SoftMachineError> {
    match catch {
        Some(Catch::Exits) if !vmx_instructions_exit(kvm)? => Err(SoftMachineError::NoExits),
        Some(catch) => Ok(catch),
        None if vmx_instructions_exit(kvm)? => Ok(Catch::Exits),
        None => Ok(Catch::Stops),
    }
}
