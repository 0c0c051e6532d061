// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A vCPU of KVM's.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use kvm_bindings::{KVM_EXIT_MEMORY_FAULT, KVMIO};
use kvm_ioctls::{Cap, Kvm, VcpuFd};

use super::decode;
use super::run_area::{ImmediateExit, RunArea};
use crate::{Error, Exit, RunError, Vcpu};

/// `_IO(KVMIO, 0x80)`.
const KVM_RUN: libc::c_ulong = (KVMIO << 8 | 0x80) as libc::c_ulong;

/// A vCPU of KVM's, to be run by a [`Runner`](crate::Runner).
///
/// Its file descriptor is at hand for everything but running it: [`fd`](Self::fd).
#[derive(Debug)]
pub struct KvmVcpu {
    fd: VcpuFd,
    area: RunArea,
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
        Ok(Self { fd, area })
    }

    /// The vCPU's file descriptor: registers, CPUID, events and so on.
    ///
    /// It is lent shared only, since what kvm-ioctls has for an exclusive one either enters the guest
    /// or writes to `kvm_run`, and both are the loop's.
    pub fn fd(&self) -> &VcpuFd {
        &self.fd
    }
}

impl Vcpu for KvmVcpu {
    type Skip = ImmediateExit;

    fn skip_flag(&self) -> Arc<ImmediateExit> {
        Arc::new(self.area.immediate_exit())
    }

    // Not `VcpuFd::run`: that makes a `&mut kvm_run` of the whole area, the byte that other threads
    // write included, and takes KVM's lengths and offsets at their word.
    fn run(&mut self) -> Result<Exit<'_>, RunError> {
        // SAFETY: the file descriptor is a vCPU's and KVM_RUN takes no argument. It writes to the
        // run area, of which nothing is borrowed during `&mut self`, and to guest memory, which is
        // nobody's to borrow.
        let ret = unsafe { libc::ioctl(self.fd.as_raw_fd(), KVM_RUN, 0) };
        if ret < 0 {
            let errno = io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or_default();
            // The one exit that comes with an error; with any other error the exit reason is stale.
            let may_be_fault = matches!(errno, libc::EFAULT | libc::EHWPOISON);
            if !may_be_fault || decode::exit_reason(&self.area)? != KVM_EXIT_MEMORY_FAULT {
                return Err(RunError::from_errno(errno));
            }
        }
        Ok(decode::exit(&mut self.area)?)
    }
}
