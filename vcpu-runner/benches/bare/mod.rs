// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! KVM_RUN without the crates: what the floors and the models of other designs are made of.

pub mod signal;

use std::io;
use std::mem::offset_of;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU8;

use kvm_bindings::{KVMIO, kvm_run};
use kvm_ioctls::{Kvm, VcpuFd};

/// `_IO(KVMIO, 0x80)`.
const KVM_RUN: libc::c_ulong = (KVMIO << 8 | 0x80) as libc::c_ulong;

/// A vCPU and its run area.
pub struct BareVcpu {
    pub fd: VcpuFd,
    area: NonNull<kvm_run>,
}

// SAFETY: the run area is memory that belongs to no thread.
unsafe impl Send for BareVcpu {}

impl BareVcpu {
    /// Maps the run area, and leaves it mapped until the process ends.
    pub fn new(kvm: &Kvm, fd: VcpuFd) -> Self {
        let (len, protection) = (
            kvm.get_vcpu_mmap_size().unwrap(),
            libc::PROT_READ | libc::PROT_WRITE,
        );
        assert!(len >= size_of::<kvm_run>());
        // SAFETY: a new mapping at an address of the kernel's choice harms nothing.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        assert_ne!(start, libc::MAP_FAILED, "{}", io::Error::last_os_error());
        let area = NonNull::new(start.cast()).unwrap();
        Self { fd, area }
    }

    /// `kvm_run.immediate_exit`, for any thread.
    pub fn flag(&self) -> &'static AtomicU8 {
        let offset = offset_of!(kvm_run, immediate_exit);
        // SAFETY: the byte lies in the mapping.
        let byte = unsafe { self.area.byte_add(offset) };
        // SAFETY: the mapping stays for ever, and nothing else in the process touches this byte but
        // through what comes from here.
        unsafe { AtomicU8::from_ptr(byte.as_ptr().cast()) }
    }

    /// The run area. What is read of it is what KVM_RUN wrote last.
    pub fn area(&self) -> *const kvm_run {
        self.area.as_ptr()
    }

    /// KVM_RUN. `false` is EINTR; any other error ends the benchmark.
    #[inline]
    pub fn run(&mut self) -> bool {
        // SAFETY: the descriptor is a vCPU's and KVM_RUN takes no argument. Of the run area and of
        // guest memory nobody has a reference, but for the atomic byte.
        let ret = unsafe { libc::ioctl(self.fd.as_raw_fd(), KVM_RUN, 0) };
        if ret == 0 {
            return true;
        }
        let error = io::Error::last_os_error();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted, "KVM_RUN: {error}");
        false
    }
}
