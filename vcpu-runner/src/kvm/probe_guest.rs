// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A guest of a few instructions in 64-bit mode, ring 0, where a kernel runs: to try out what a
//! host's KVM does.

use std::sync::Arc;

use kvm_bindings::{
    KVM_MAX_CPUID_ENTRIES, kvm_regs, kvm_segment, kvm_sregs, kvm_userspace_memory_region,
};
use kvm_ioctls::{Kvm, VmFd};
use thiserror::Error;
use vm_memory::{
    Address, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
};

use super::KvmVcpu;
use crate::{Error, Exit, RunError, Vcpu};

/// What kept a probe from being made. It says nothing of what was to be probed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// An ioctl failed.
    #[error("{ioctl}: {source}")]
    Ioctl {
        /// Its name.
        ioctl: &'static str,
        /// Its error.
        source: kvm_ioctls::Error,
    },
    /// The vCPU cannot be used.
    #[error("{0}")]
    Vcpu(#[from] Error),
    /// There is no memory for the guest.
    #[error("no memory for a guest: {0}")]
    Memory(String),
    /// The guest came to another end than its instructions say.
    #[error("the probe's guest came back with {0} instead")]
    UnexpectedExit(String),
}

/// How a probe's guest came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeExit {
    /// It executed HLT.
    Hlt,
    /// KVM_EXIT_DEBUG.
    Debug,
    /// KVM_EXIT_INTERNAL_ERROR: KVM's emulator lacks the instruction.
    InternalError,
    /// Triple fault: an exception, as there are no handlers but the one for #BP.
    Shutdown,
    /// KVM_RUN returned EINTR.
    Interrupted,
}

/// The layout of the guest's 2 MiB, which its page tables map to themselves.
mod layout {
    pub const SIZE: usize = 2 << 20;
    pub const PML4: u64 = 0x1000;
    pub const PDPT: u64 = 0x2000;
    pub const PD: u64 = 0x3000;
    pub const IDT: u64 = 0x4000;
    pub const GDT: u64 = 0x5000;
    /// A HLT: the handler of #BP.
    pub const HANDLER: u64 = 0x6000;
    /// 16-byte aligned, for instructions with a memory operand.
    pub const DATA: u64 = 0x7000;
    pub const STACK: u64 = 0x8000;
    pub const CODE: u64 = 0x9000;
    /// Memory for the probe's own use, 64 KiB.
    pub const FREE: u64 = 0x2_0000;
}

/// Above the guest's memory, where KVM on older Intel processors needs three pages.
const TSS_ADDRESS: usize = 0xfffb_d000;

/// Page table entry: present, writable, also for user code, and at the PD's level a 2 MiB page.
const PRESENT_WRITABLE: u64 = 0b111;
const LARGE: u64 = 1 << 7;

const CR0_PE: u64 = 1 << 0;
const CR0_MP: u64 = 1 << 1;
const CR0_ET: u64 = 1 << 4;
const CR0_NE: u64 = 1 << 5;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const CR4_OSFXSR: u64 = 1 << 9;
const CR4_OSXMMEXCPT: u64 = 1 << 10;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// The flat code and data segments' descriptors, at selectors 8 and 16.
const CODE_DESCRIPTOR: u64 = 0x00af_9b00_0000_ffff;
const DATA_DESCRIPTOR: u64 = 0x00cf_9300_0000_ffff;
/// The same for ring 3, at selectors 24 and 32.
const USER_CODE_DESCRIPTOR: u64 = 0x00af_fb00_0000_ffff;
const USER_DATA_DESCRIPTOR: u64 = 0x00cf_f300_0000_ffff;
const BREAKPOINT_VECTOR: u8 = 3;
const RFLAGS_IF: u64 = 1 << 9;
const HLT: u8 = 0xf4;

/// A VM with one vCPU that is about to execute some code. RDI points at 16 aligned bytes.
#[derive(Debug)]
pub struct ProbeGuest {
    // In this order: the vCPU and the VM go before the memory that they use.
    vcpu: KvmVcpu,
    _vm: VmFd,
    memory: Arc<GuestMemoryMmap>,
}

pub(super) fn ioctl(ioctl: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> ProbeError {
    move |source| ProbeError::Ioctl { ioctl, source }
}

fn memory(error: impl std::fmt::Display) -> ProbeError {
    ProbeError::Memory(error.to_string())
}

impl ProbeGuest {
    /// Guest physical address of memory that the guest itself does not use, 64 KiB of it.
    pub const FREE: u64 = layout::FREE;

    /// A guest that will execute `code`, 4 KiB at most.
    ///
    /// # Errors
    /// [`ProbeError`].
    pub fn new(kvm: &Kvm, code: &[u8]) -> Result<Self, ProbeError> {
        let guest = guest_memory(code)?;
        let vm = kvm.create_vm().map_err(ioctl("KVM_CREATE_VM"))?;
        vm.set_tss_address(TSS_ADDRESS)
            .map_err(ioctl("KVM_SET_TSS_ADDR"))?;
        for (region, slot) in guest.iter().zip(0..) {
            let region = kvm_userspace_memory_region {
                slot,
                guest_phys_addr: region.start_addr().raw_value(),
                memory_size: region.len(),
                userspace_addr: region.as_ptr() as u64,
                flags: 0,
            };
            // SAFETY: the region is mapped, has this size and stays mapped for as long as the VM
            // is there: the struct drops the VM first.
            unsafe { vm.set_user_memory_region(region) }
                .map_err(ioctl("KVM_SET_USER_MEMORY_REGION"))?;
        }
        let fd = vm.create_vcpu(0).map_err(ioctl("KVM_CREATE_VCPU"))?;
        let cpuid = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(ioctl("KVM_GET_SUPPORTED_CPUID"))?;
        fd.set_cpuid2(&cpuid).map_err(ioctl("KVM_SET_CPUID2"))?;
        let mut sregs = fd.get_sregs().map_err(ioctl("KVM_GET_SREGS"))?;
        long_mode(&mut sregs);
        fd.set_sregs(&sregs).map_err(ioctl("KVM_SET_SREGS"))?;
        let this = Self {
            vcpu: KvmVcpu::new(kvm, fd)?,
            _vm: vm,
            memory: Arc::new(guest),
        };
        this.restart_at(layout::CODE, 0)?;
        Ok(this)
    }

    /// The vCPU.
    pub fn vcpu(&mut self) -> &mut KvmVcpu {
        &mut self.vcpu
    }

    /// The guest's memory.
    pub fn memory(&self) -> &Arc<GuestMemoryMmap> {
        &self.memory
    }

    /// Makes `address`, below 64 KiB above [`Self::FREE`], the handler of `vector`.
    ///
    /// # Errors
    /// [`ProbeError::Memory`].
    pub fn set_handler(&self, vector: u8, address: u64) -> Result<(), ProbeError> {
        write_gate(&self.memory, vector, address)
    }

    /// From now on the guest's code is user code, in ring 3. It has no TSS: whatever is delivered to it
    /// is a triple fault.
    ///
    /// # Errors
    /// [`ProbeError::Ioctl`].
    pub fn enter_user_mode(&self) -> Result<(), ProbeError> {
        let fd = self.vcpu.fd();
        let mut sregs = fd.get_sregs().map_err(ioctl("KVM_GET_SREGS"))?;
        (sregs.cs.selector, sregs.cs.dpl) = (24 | 3, 3);
        (sregs.ss.selector, sregs.ss.dpl) = (32 | 3, 3);
        fd.set_sregs(&sregs).map_err(ioctl("KVM_SET_SREGS"))
    }

    /// How many bytes of the code are behind the guest.
    ///
    /// # Errors
    /// [`ProbeError::Ioctl`].
    pub fn progress(&self) -> Result<u64, ProbeError> {
        let regs = self.vcpu.fd().get_regs().map_err(ioctl("KVM_GET_REGS"))?;
        Ok(regs.rip.wrapping_sub(layout::CODE))
    }

    /// Puts the guest back to the code's start, with this value in RCX.
    ///
    /// # Errors
    /// [`ProbeError::Ioctl`].
    pub fn restart(&self, rcx: u64) -> Result<(), ProbeError> {
        self.restart_at(layout::CODE, rcx)
    }

    /// Puts the guest to `rip`, with `rcx` in RCX, interrupts on, and all else as in the beginning.
    ///
    /// # Errors
    /// [`ProbeError::Ioctl`].
    pub fn restart_at(&self, rip: u64, rcx: u64) -> Result<(), ProbeError> {
        let regs = kvm_regs {
            rip,
            rcx,
            rsp: layout::STACK,
            rdi: layout::DATA,
            rflags: RFLAGS_IF | 1 << 1,
            ..Default::default()
        };
        let fd = self.vcpu.fd();
        fd.set_regs(&regs).map_err(ioctl("KVM_SET_REGS"))
    }

    /// Enters the guest once. An exit that no probe has is an error.
    ///
    /// # Errors
    /// [`ProbeError`].
    pub fn run(&mut self) -> Result<ProbeExit, ProbeError> {
        match self.vcpu.run() {
            Ok(Exit::Hlt) => Ok(ProbeExit::Hlt),
            Ok(Exit::Debug(_)) => Ok(ProbeExit::Debug),
            Ok(Exit::InternalError { .. }) => Ok(ProbeExit::InternalError),
            Ok(Exit::Shutdown) => Ok(ProbeExit::Shutdown),
            Ok(other) => Err(ProbeError::UnexpectedExit(format!("{other:?}"))),
            Err(RunError::Interrupted | RunError::Again) => Ok(ProbeExit::Interrupted),
            Err(RunError::Failed(errno)) => Err(ioctl("KVM_RUN")(kvm_ioctls::Error::new(errno))),
            Err(RunError::Defect(defect)) => Err(Error::RunArea(defect).into()),
        }
    }

    /// Enters the guest, again after each signal (a stop of the whole process, for example).
    ///
    /// # Errors
    /// [`ProbeError`].
    pub fn run_on(&mut self) -> Result<ProbeExit, ProbeError> {
        loop {
            match self.run()? {
                ProbeExit::Interrupted => {}
                exit => return Ok(exit),
            }
        }
    }
}

/// A trap gate to `address`, which is below 4 GiB: offset, selector 8, type. It leaves IF as it is, so
/// that whoever runs the host can interrupt a handler that goes on and on: not every processor that is
/// itself emulated exits for that where IF is 0.
fn write_gate(guest: &GuestMemoryMmap, vector: u8, address: u64) -> Result<(), ProbeError> {
    let low = address & 0xffff | 8 << 16 | 0x8f00 << 32 | (address >> 16 & 0xffff) << 48;
    let at = GuestAddress(layout::IDT + 16 * u64::from(vector));
    guest.write_obj(low.to_le(), at).map_err(memory)
}

fn guest_memory(code: &[u8]) -> Result<GuestMemoryMmap, ProbeError> {
    let guest = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), layout::SIZE)]).map_err(memory)?;
    let quadwords = [
        (layout::PML4, layout::PDPT | PRESENT_WRITABLE),
        (layout::PDPT, layout::PD | PRESENT_WRITABLE),
        (layout::PD, LARGE | PRESENT_WRITABLE),
        (layout::GDT + 8, CODE_DESCRIPTOR),
        (layout::GDT + 16, DATA_DESCRIPTOR),
        (layout::GDT + 24, USER_CODE_DESCRIPTOR),
        (layout::GDT + 32, USER_DATA_DESCRIPTOR),
    ];
    for (address, value) in quadwords {
        guest
            .write_obj(value.to_le(), GuestAddress(address))
            .map_err(memory)?;
    }
    write_gate(&guest, BREAKPOINT_VECTOR, layout::HANDLER)?;
    guest
        .write_obj(HLT, GuestAddress(layout::HANDLER))
        .map_err(memory)?;
    guest
        .write_slice(code, GuestAddress(layout::CODE))
        .map_err(memory)?;
    Ok(guest)
}

fn long_mode(sregs: &mut kvm_sregs) {
    let segment = |selector: u16, type_, l| kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_,
        present: 1,
        dpl: 0,
        db: u8::from(l == 0),
        s: 1,
        l,
        g: 1,
        ..Default::default()
    };
    let data = segment(16, 3, 0);
    sregs.cs = segment(8, 11, 1);
    (sregs.ds, sregs.es, sregs.ss) = (data, data, data);
    (sregs.fs, sregs.gs) = (data, data);
    sregs.gdt.base = layout::GDT;
    sregs.gdt.limit = 5 * 8 - 1;
    sregs.idt.base = layout::IDT;
    sregs.idt.limit = 256 * 16 - 1;
    sregs.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_PG;
    sregs.cr3 = layout::PML4;
    sregs.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;
    sregs.efer = EFER_LME | EFER_LMA;
}
