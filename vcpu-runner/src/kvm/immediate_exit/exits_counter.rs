// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A vCPU's own count of exits, from KVM's binary statistics (`api.rst`, 4.134, KVM_GET_STATS_FD).
//!
//! It grows each time the guest was really entered and left, whatever made it leave, and stands
//! still when KVM_RUN turns round before.

use std::fs::File;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;

use kvm_bindings::{KVMIO, kvm_stats_desc, kvm_stats_header};
use kvm_ioctls::VcpuFd;

/// `_IO(KVMIO, 0xce)`, which kvm-ioctls does not have.
const KVM_GET_STATS_FD: libc::c_ulong = (KVMIO << 8 | 0xce) as libc::c_ulong;

/// More descriptors than any kernel has, so that nothing is allocated on a number's word.
const MOST: u32 = 4096;
/// Longer than any name.
const LONGEST_NAME: u32 = 256;

/// Where the count is.
#[derive(Debug)]
pub(super) struct ExitsCounter {
    file: File,
    offset: u64,
}

impl ExitsCounter {
    /// That of this vCPU; `None` where the kernel (before 5.14) has none.
    pub(super) fn open(fd: &VcpuFd) -> Option<Self> {
        // SAFETY: the file descriptor is a vCPU's, and the call takes no argument.
        let stats = unsafe { libc::ioctl(fd.as_raw_fd(), KVM_GET_STATS_FD, 0) };
        if stats < 0 {
            return None;
        }
        // SAFETY: the call succeeded, so this is a new file descriptor that is nobody else's.
        let file = unsafe { File::from_raw_fd(stats) };
        let offset = offset_of_stat(&file, "exits")?;
        Some(Self { file, offset })
    }

    /// The count now.
    pub(super) fn read(&self) -> Option<u64> {
        let mut value = [0; 8];
        self.file.read_exact_at(&mut value, self.offset).ok()?;
        Some(u64::from_ne_bytes(value))
    }
}

/// Where in `file` the statistic called `name` is.
fn offset_of_stat(file: &File, name: &str) -> Option<u64> {
    let word = |at: u64| -> Option<u32> {
        let mut value = [0; 4];
        file.read_exact_at(&mut value, at).ok()?;
        Some(u32::from_ne_bytes(value))
    };
    let header = |field: usize| word(field as u64);
    let name_size = header(std::mem::offset_of!(kvm_stats_header, name_size))?.min(LONGEST_NAME);
    let count = header(std::mem::offset_of!(kvm_stats_header, num_desc))?.min(MOST);
    let descriptors = header(std::mem::offset_of!(kvm_stats_header, desc_offset))?;
    let data = header(std::mem::offset_of!(kvm_stats_header, data_offset))?;
    let stride = size_of::<kvm_stats_desc>() as u64 + u64::from(name_size);
    for index in 0..u64::from(count) {
        let at = u64::from(descriptors) + index * stride;
        let mut found = vec![0; name_size as usize];
        file.read_exact_at(&mut found, at + size_of::<kvm_stats_desc>() as u64)
            .ok()?;
        let len = found.iter().position(|byte| *byte == 0)?;
        if found.get(..len) == Some(name.as_bytes()) {
            let offset = word(at + std::mem::offset_of!(kvm_stats_desc, offset) as u64)?;
            return Some(u64::from(data) + u64::from(offset));
        }
    }
    None
}
