// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The memory that a vCPU shares with KVM: `struct kvm_run` and the pages behind it.
//!
//! It is mapped once more, beside the mapping that kvm-ioctls has. This mapping belongs to those who
//! use it, so a handle that outlives the vCPU's file descriptor still writes to memory that is
//! there; and no `&mut kvm_run` ever covers the one byte that other threads write.

use std::io;
use std::mem::{align_of, offset_of, size_of};
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use kvm_bindings::{kvm_run, kvm_sync_regs};

use crate::{Error, RunAreaDefect, SkipFlag};

/// Where the data of the exits begin. Nothing below is ever borrowed.
pub(super) const EXIT_DATA: usize = offset_of!(kvm_run, __bindgen_anon_1);

/// A mapping of the run area, unmapped when the last owner goes.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is plain memory that belongs to no thread.
unsafe impl Send for Mapping {}
// SAFETY: other threads have a Mapping only within an `KvmSkipFlag`, which touches one byte, and
// that atomically. Everything else is reached through the one `RunArea`, by its borrow rules.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(flags: libc::c_int, fd: RawFd, len: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice harms nothing.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                fd,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        match NonNull::new(start.cast()) {
            Some(start) => Ok(Self { start, len }),
            None => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    }

    fn immediate_exit(&self) -> &AtomicU8 {
        let offset = offset_of!(kvm_run, immediate_exit);
        // SAFETY: `RunArea::new` has checked that a whole kvm_run lies in the mapping.
        let byte = unsafe { self.start.add(offset) };
        // SAFETY: the byte lives as long as `self`, and whoever else touches it through this mapping
        // does so atomically: no reference made here begins before EXIT_DATA, which lies behind it.
        // (kvm-ioctls has a mapping of its own, at another address, and writes this byte only
        // through `&mut VcpuFd`, which nobody gets.)
        unsafe { AtomicU8::from_ptr(byte.as_ptr()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length, and nobody has a reference into it any
        // more, since such references borrow an owner.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// `kvm_run.immediate_exit`, the skip flag of a KVM vCPU.
///
/// It keeps its own mapping of the run area alive.
#[derive(Debug)]
pub struct KvmSkipFlag(Arc<Mapping>);

impl KvmSkipFlag {
    /// Whether the next KVM_RUN only finishes pending I/O. For the vCPU's thread: what others set may
    /// come at any moment.
    pub fn is_set(&self) -> bool {
        self.0.immediate_exit().load(Ordering::Acquire) != 0
    }
}

impl SkipFlag for KvmSkipFlag {
    fn set(&self) {
        // Release, so that what the setter did before is not seen after it. KVM needs no more: a
        // KVM_RUN that missed the store is ended by the signal that follows it.
        self.0.immediate_exit().store(1, Ordering::Release);
    }

    fn clear(&self) {
        self.0.immediate_exit().store(0, Ordering::Relaxed);
    }
}

/// The vCPU's own view of the run area: exclusive, but for `immediate_exit`.
#[derive(Debug)]
pub(super) struct RunArea(Arc<Mapping>);

impl RunArea {
    /// Maps the run area of the vCPU that `fd` is, `len` bytes as KVM_GET_VCPU_MMAP_SIZE says.
    pub(super) fn new(fd: RawFd, len: usize) -> Result<Self, Error> {
        check_len(len)?;
        let mapping =
            Mapping::new(libc::MAP_SHARED, fd, len).map_err(|source| Error::MapRunArea {
                size: len,
                source: Arc::new(source),
            })?;
        Ok(Self(Arc::new(mapping)))
    }

    /// Whether the skip flag is set.
    pub(super) fn is_skip_set(&self) -> bool {
        // Acquire, the other side of the setter's Release.
        self.0.immediate_exit().load(Ordering::Acquire) != 0
    }

    /// `request_interrupt_window`, the byte before the skip flag, which nobody else writes.
    pub(super) fn request_interrupt_window(&mut self, wanted: bool) {
        let offset = offset_of!(kvm_run, request_interrupt_window);
        // SAFETY: a whole kvm_run lies in the mapping.
        let byte = unsafe { self.0.start.add(offset) };
        // SAFETY: the byte lies in the mapping, `&mut self` has it to itself, and no reference to it
        // is ever made.
        unsafe { byte.write(u8::from(wanted)) };
    }

    /// `ready_for_interrupt_injection`, as KVM_RUN left it.
    pub(super) fn is_ready_for_interrupt(&self) -> Result<bool, RunAreaDefect> {
        let offset = offset_of!(kvm_run, ready_for_interrupt_injection);
        self.u8(offset).map(|ready| ready != 0)
    }

    /// Which registers KVM_RUN leaves in the area when it comes back: KVM_SYNC_X86_*.
    pub(super) fn want_synced(&mut self, fields: u64) {
        let offset = offset_of!(kvm_run, kvm_valid_regs);
        // SAFETY: a whole kvm_run lies in the mapping.
        let word = unsafe { self.0.start.add(offset) };
        // SAFETY: the word lies in the mapping, `&mut self` has it to itself, and no reference to it
        // is ever made.
        unsafe { word.cast::<u64>().write(fields) };
    }

    /// The registers that KVM_RUN has left there.
    pub(super) fn synced(&self) -> kvm_sync_regs {
        let offset = offset_of!(kvm_run, s);
        // SAFETY: a whole kvm_run lies in the mapping.
        let regs = unsafe { self.0.start.add(offset) };
        // SAFETY: the structure lies in the mapping, which KVM writes in KVM_RUN only; any bits are
        // such registers.
        unsafe { regs.cast::<kvm_sync_regs>().read() }
    }

    pub(super) fn immediate_exit(&self) -> KvmSkipFlag {
        KvmSkipFlag(Arc::clone(&self.0))
    }

    pub(super) fn u8(&self, offset: usize) -> Result<u8, RunAreaDefect> {
        self.copy(offset).map(u8::from_ne_bytes)
    }

    pub(super) fn u16(&self, offset: usize) -> Result<u16, RunAreaDefect> {
        self.copy(offset).map(u16::from_ne_bytes)
    }

    pub(super) fn u32(&self, offset: usize) -> Result<u32, RunAreaDefect> {
        self.copy(offset).map(u32::from_ne_bytes)
    }

    pub(super) fn u64(&self, offset: usize) -> Result<u64, RunAreaDefect> {
        self.copy(offset).map(u64::from_ne_bytes)
    }

    /// `len` bytes at `offset`.
    pub(super) fn bytes(&mut self, offset: usize, len: usize) -> Result<&mut [u8], RunAreaDefect> {
        let data = self.data::<u8>(offset, len)?;
        // SAFETY: `data` lies in the mapping, which lives as long as `self`; `&mut self` excludes
        // every other reference to these bytes, since the flag, which others write, is not among
        // them. KVM writes them only in KVM_RUN, which needs `&mut self` too.
        Ok(unsafe { slice::from_raw_parts_mut(data.as_ptr(), len) })
    }

    /// `count` aligned words at `offset`.
    pub(super) fn words(
        &mut self,
        offset: usize,
        count: usize,
    ) -> Result<&mut [u64], RunAreaDefect> {
        let data = self.data::<u64>(offset, count)?;
        // SAFETY: as in `bytes`; `data` has looked at the alignment, and any bits are a u64.
        Ok(unsafe { slice::from_raw_parts_mut(data.as_ptr(), count) })
    }

    fn copy<const N: usize>(&self, offset: usize) -> Result<[u8; N], RunAreaDefect> {
        let mut value = [0; N];
        // Everything of kvm_run may be copied but the byte that others write.
        if offset <= offset_of!(kvm_run, immediate_exit) {
            return Err(outside(offset, N));
        }
        let end = offset.checked_add(N).ok_or(outside(offset, N))?;
        if end > self.0.len {
            return Err(outside(offset, N));
        }
        // SAFETY: `offset` lies in the mapping.
        let source = unsafe { self.0.start.add(offset) };
        // SAFETY: N bytes from `source` lie in the mapping, and `value` is another object. They are
        // written by KVM, in KVM_RUN, and through `&mut self` only.
        unsafe { ptr::copy_nonoverlapping(source.as_ptr(), value.as_mut_ptr(), N) };
        Ok(value)
    }

    /// A pointer to `count` values at `offset`, all of them among the exits' data.
    fn data<T>(&mut self, offset: usize, count: usize) -> Result<NonNull<T>, RunAreaDefect> {
        let len = count.saturating_mul(size_of::<T>());
        let end = offset.checked_add(len).ok_or(outside(offset, len))?;
        if offset < EXIT_DATA || end > self.0.len || !offset.is_multiple_of(align_of::<T>()) {
            return Err(outside(offset, len));
        }
        // SAFETY: `offset` lies in the mapping.
        Ok(unsafe { self.0.start.add(offset) }.cast())
    }
}

fn check_len(len: usize) -> Result<(), Error> {
    if len < size_of::<kvm_run>() {
        return Err(Error::RunArea(RunAreaDefect::TooSmall(len)));
    }
    Ok(())
}

fn outside(offset: usize, len: usize) -> RunAreaDefect {
    RunAreaDefect::DataOutside {
        offset: offset as u64,
        len: len as u64,
    }
}

/// A run area that no KVM stands behind.
#[cfg(test)]
#[cfg(not(loom))]
impl RunArea {
    pub(super) fn of_zeroes(len: usize) -> Result<Self, Error> {
        check_len(len)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let mapping = Mapping::new(flags, -1, len).unwrap();
        Ok(Self(Arc::new(mapping)))
    }

    pub(super) fn put(&mut self, offset: usize, bytes: &[u8]) {
        assert!(offset > offset_of!(kvm_run, immediate_exit) && offset + bytes.len() <= self.0.len);
        // SAFETY: the destination lies in the mapping, which `&mut self` has to itself.
        let start = unsafe { self.0.start.add(offset) };
        // SAFETY: checked above; `bytes` is another object.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), start.as_ptr(), bytes.len()) };
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn a_run_area_smaller_than_kvm_run_is_refused() {
        for len in [0, 1, size_of::<kvm_run>() - 1] {
            assert!(matches!(
                RunArea::of_zeroes(len),
                Err(Error::RunArea(RunAreaDefect::TooSmall(found))) if found == len
            ));
        }
    }

    #[test]
    fn the_flag_outlives_the_area() {
        let area = RunArea::of_zeroes(4096).unwrap();
        let flag = area.immediate_exit();
        drop(area);
        flag.set();
        assert!(flag.is_set());
        assert_eq!(flag.0.immediate_exit().load(Ordering::Relaxed), 1);
        flag.clear();
        assert!(!flag.is_set());
        assert_eq!(flag.0.immediate_exit().load(Ordering::Relaxed), 0);
    }

    #[test]
    fn nothing_outside_of_the_exits_data_can_be_borrowed() {
        let mut area = RunArea::of_zeroes(8192).unwrap();
        assert_eq!(area.bytes(EXIT_DATA, 8).unwrap().len(), 8);
        assert_eq!(area.bytes(8192, 0).unwrap().len(), 0);
        for (offset, len) in [
            (0, 1),
            (1, 1),
            (EXIT_DATA - 1, 1),
            (8192, 1),
            (8191, 2),
            (usize::MAX, 1),
            (EXIT_DATA, usize::MAX),
        ] {
            assert!(area.bytes(offset, len).is_err(), "{offset} {len}");
        }
        assert!(area.words(EXIT_DATA + 4, 1).is_err());
        assert!(area.words(EXIT_DATA, usize::MAX / 4).is_err());
        assert!(area.words(8192 - 8, 1).is_ok());
        assert!(area.u64(8192 - 7).is_err());
        assert!(area.u8(1).is_err());
    }

    #[test]
    fn registers_that_were_left_there_are_read_whole() {
        let mut area = RunArea::of_zeroes(4096).unwrap();
        area.want_synced(7);
        let wanted = area.u64(offset_of!(kvm_run, kvm_valid_regs));
        assert_eq!(wanted.unwrap(), 7);
        let registers = offset_of!(kvm_run, s);
        let rip = registers + offset_of!(kvm_sync_regs, regs.rip);
        area.put(rip, &0x1234_u64.to_ne_bytes());
        let nmi = registers + offset_of!(kvm_sync_regs, events.nmi.pending);
        area.put(nmi, &[1]);
        let synced = area.synced();
        assert_eq!((synced.regs.rip, synced.events.nmi.pending), (0x1234, 1));
        area.request_interrupt_window(true);
        assert!(!area.is_skip_set());
        area.immediate_exit().set();
        assert!(area.is_skip_set());
        assert!(!area.is_ready_for_interrupt().unwrap());
    }
}
