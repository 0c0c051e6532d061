// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A vCPU of KVM's.

use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use kvm_bindings::{
    KVM_CAP_SET_GUEST_DEBUG2, KVM_EXIT_MEMORY_FAULT, KVMIO, kvm_guest_debug, kvm_interrupt,
};
use kvm_ioctls::{Cap, Kvm, VcpuFd};

use super::decode;
use super::immediate_exit::{Abilities, BriefEntries, Entry, ImmediateExitSetUp, Ran};
use super::run_area::{KvmSkipFlag, RunArea};
use crate::{BriefError, BriefRun, Error, Exit, NotEntered, RunAreaDefect, RunError, Vcpu};

/// Its value are the flags that KVM_SET_GUEST_DEBUG takes.
const SET_GUEST_DEBUG2: libc::c_ulong = KVM_CAP_SET_GUEST_DEBUG2 as libc::c_ulong;

/// `_IO(KVMIO, 0x80)`.
const KVM_RUN: libc::c_ulong = (KVMIO << 8 | 0x80) as libc::c_ulong;

/// `_IOW(KVMIO, 0x86, struct kvm_interrupt)`, which kvm-ioctls does not have.
const KVM_INTERRUPT: libc::c_ulong =
    (1 << 30 | (size_of::<kvm_interrupt>() as u32) << 16 | KVMIO << 8 | 0x86) as libc::c_ulong;

/// A vCPU of KVM's, to be run by a [`Runner`](crate::Runner).
///
/// Its file descriptor is at hand for everything but running it: [`fd`](Self::fd). What KVM does not
/// give back when asked, the debug control and the wish for an interrupt window, is to be set
/// through this type, so that an immediate exit leaves it as it was.
#[derive(Debug)]
pub struct KvmVcpu {
    fd: VcpuFd,
    area: RunArea,
    /// What the user set with KVM_SET_GUEST_DEBUG.
    debug: kvm_guest_debug,
    /// Whether the user wants KVM_EXIT_IRQ_WINDOW_OPEN.
    wants_window: bool,
    abilities: Abilities,
    brief: Option<Box<BriefEntries>>,
}

impl KvmVcpu {
    /// Takes over a vCPU that `kvm` made.
    ///
    /// # Errors
    /// [`Error::NoImmediateExit`], [`Error::RunAreaSize`], [`Error::MapRunArea`], and
    /// [`Error::RunArea`] if the area is smaller than `struct kvm_run`.
    pub fn new(kvm: &Kvm, fd: VcpuFd) -> Result<Self, Error> {
        if !kvm.check_extension(Cap::ImmediateExit) {
            return Err(Error::NoImmediateExit);
        }
        let size = kvm
            .get_vcpu_mmap_size()
            .map_err(|source| Error::RunAreaSize(Arc::new(source.into())))?;
        let area = RunArea::new(fd.as_raw_fd(), size)?;
        Ok(Self {
            fd,
            area,
            debug: kvm_guest_debug::default(),
            wants_window: false,
            abilities: Abilities {
                sync_fields: u64::try_from(kvm.check_extension_int(Cap::SyncRegs)).unwrap_or(0),
                debug_flags: u32::try_from(kvm.check_extension_raw(SET_GUEST_DEBUG2)).unwrap_or(0),
            },
            brief: None,
        })
    }

    /// The vCPU's file descriptor: registers, CPUID, events and so on.
    ///
    /// It is lent shared only, since what kvm-ioctls has for an exclusive one either enters the guest
    /// or writes to `kvm_run`, and both are the loop's.
    pub fn fd(&self) -> &VcpuFd {
        &self.fd
    }

    /// Gives the vCPU what it needs for immediate exits: without it, each ends with
    /// [`NotEntered::NotSetUp`](crate::NotEntered::NotSetUp).
    ///
    /// # Errors
    /// [`Error::UnusableSignal`] and [`Error::SetUpSignal`] if the timer's signal cannot be had.
    pub fn set_up_immediate_exit(&mut self, set_up: ImmediateExitSetUp) -> Result<(), Error> {
        self.brief = Some(Box::new(BriefEntries::new(
            set_up,
            &self.fd,
            self.abilities,
        )?));
        Ok(())
    }

    /// KVM_SET_GUEST_DEBUG. Set through [`fd`](Self::fd) it would be gone after an immediate exit:
    /// KVM does not tell what it is.
    ///
    /// # Errors
    /// KVM's.
    pub fn set_guest_debug(&mut self, debug: &kvm_guest_debug) -> Result<(), kvm_ioctls::Error> {
        self.fd.set_guest_debug(debug)?;
        self.debug = *debug;
        Ok(())
    }

    /// KVM_INTERRUPT: queues an external interrupt, to be delivered with the next entry. For a VM
    /// without an in-kernel interrupt controller. Whether the guest can take one,
    /// [`is_ready_for_interrupt`](Self::is_ready_for_interrupt) tells.
    ///
    /// # Errors
    /// EEXIST: one is queued already. ENXIO: the interrupt controller is in the kernel.
    pub fn interrupt(&self, vector: u8) -> Result<(), kvm_ioctls::Error> {
        let interrupt = kvm_interrupt { irq: vector.into() };
        // SAFETY: the file descriptor is a vCPU's, and KVM reads a whole kvm_interrupt.
        let ret = unsafe { libc::ioctl(self.fd.as_raw_fd(), KVM_INTERRUPT, &raw const interrupt) };
        match ret {
            0 => Ok(()),
            _ => Err(kvm_ioctls::Error::last()),
        }
    }

    /// Whether KVM comes back with [`Exit::IrqWindowOpen`] as soon as the guest could take an
    /// external interrupt (`kvm_run.request_interrupt_window`). For a VM without an in-kernel PIC.
    pub fn request_interrupt_window(&mut self, wanted: bool) {
        self.wants_window = wanted;
        self.area.request_interrupt_window(wanted);
    }

    /// Whether the guest could take an external interrupt when KVM_RUN last came back
    /// (`kvm_run.ready_for_interrupt_injection`).
    ///
    /// # Errors
    /// If the run area is too small for it, which it is not.
    pub fn is_ready_for_interrupt(&self) -> Result<bool, RunAreaDefect> {
        self.area.is_ready_for_interrupt()
    }

    /// The exit with which [`run`](Vcpu::run) or [`run_briefly`](Vcpu::run_briefly) last came back,
    /// once more: for a vCPU made of several, which looks at an exit before it gives it on. Before
    /// the first exit, and after an error, it is stale.
    ///
    /// # Errors
    /// What KVM wrote makes no sense.
    pub fn last_exit(&mut self) -> Result<Exit<'_>, RunAreaDefect> {
        decode::exit(&mut self.area)
    }

    // Not `VcpuFd::run`: that makes a `&mut kvm_run` of the whole area, the byte that other threads
    // write included, and takes KVM's lengths and offsets at their word.
    fn enter(&mut self) -> Result<(), RunError> {
        enter(&self.fd, &mut self.area)
    }
}

/// KVM_RUN. Where it succeeds, `area` has an exit.
pub(super) fn enter(fd: &VcpuFd, area: &mut RunArea) -> Result<(), RunError> {
    // SAFETY: the file descriptor is a vCPU's and KVM_RUN takes no argument. It writes to the run
    // area, of which nothing is borrowed during `&mut area`, and to guest memory, which is nobody's
    // to borrow.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), KVM_RUN, 0) };
    if ret < 0 {
        let errno = io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or_default();
        // The one exit that comes with an error; with any other error the exit reason is stale.
        let may_be_fault = matches!(errno, libc::EFAULT | libc::EHWPOISON);
        if !may_be_fault || decode::exit_reason(area)? != KVM_EXIT_MEMORY_FAULT {
            return Err(RunError::from_errno(errno));
        }
    }
    Ok(())
}

impl Vcpu for KvmVcpu {
    type Skip = KvmSkipFlag;

    fn skip_flag(&self) -> Arc<KvmSkipFlag> {
        Arc::new(self.area.immediate_exit())
    }

    fn run(&mut self) -> Result<Exit<'_>, RunError> {
        self.enter()?;
        Ok(decode::exit(&mut self.area)?)
    }

    fn has_event(&self) -> bool {
        let brief = self.brief.as_ref();
        brief.is_some_and(|brief| brief.has_event(&self.fd).unwrap_or(false))
    }

    fn run_briefly(&mut self) -> Result<BriefRun<'_>, BriefError> {
        let Some(brief) = &mut self.brief else {
            return Err(NotEntered::NotSetUp.into());
        };
        let entry = Entry {
            fd: &self.fd,
            area: &mut self.area,
            debug: &self.debug,
            wants_window: self.wants_window,
        };
        Ok(match brief.run(entry)? {
            Ran::Entered {
                report,
                exit: false,
            } => BriefRun::Entered { report, exit: None },
            Ran::Entered { report, exit: true } => BriefRun::Entered {
                report,
                exit: Some(decode::exit(&mut self.area).map_err(RunError::from)?),
            },
            Ran::Before => BriefRun::Before(decode::exit(&mut self.area).map_err(RunError::from)?),
        })
    }
}
