// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A guest of a few bytes: flat 32-bit protected mode, ring 0, no paging, no interrupt controller.

use kvm_bindings::{kvm_segment, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// `jmp $`: never exits by itself.
pub const SPIN: &[u8] = &[0xeb, 0xfe];

/// `out dx, al` and a jump back to it: nothing but exits.
pub const OUT: &[u8] = &[0xee, 0xeb, 0xfd];

/// The port that [`OUT`] writes to.
pub const PORT: u16 = 0x80;

/// Where the code is, and its first instruction.
const CODE: u64 = 0x1000;

/// Bytes of memory, from address 0.
const MEMORY: usize = 0x1_0000;

/// A virtual machine. It stays until the process ends, so that its memory outlives its vCPUs.
pub struct Machine {
    /// What made it.
    pub kvm: Kvm,
    vm: VmFd,
}

impl Machine {
    /// A machine whose vCPUs all run `code`, or `None`, after one line that says why, where there is
    /// no KVM.
    pub fn new(bench: &str, code: &[u8]) -> Option<Self> {
        let kvm = match Kvm::new() {
            Ok(kvm) => kvm,
            Err(error) => {
                eprintln!("SKIPPED: benchmark {bench}: /dev/kvm cannot be opened: {error}");
                return None;
            }
        };
        let vm = kvm.create_vm().unwrap();
        let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap();
        memory.write_slice(code, GuestAddress(CODE)).unwrap();
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: MEMORY as u64,
            userspace_addr: memory.get_host_address(GuestAddress(0)).unwrap() as u64,
        };
        std::mem::forget(memory);
        // SAFETY: the memory was just made for this and is never unmapped.
        unsafe { vm.set_user_memory_region(region) }.unwrap();
        Some(Self { kvm, vm })
    }

    /// Its vCPU `index`, at the first instruction.
    pub fn vcpu(&self, index: usize) -> VcpuFd {
        let fd = self.vm.create_vcpu(index as u64).unwrap();
        flat_protected_mode(&fd);
        let mut regs = fd.get_regs().unwrap();
        regs.rip = CODE;
        regs.rflags = 2;
        regs.rsp = 0x8000;
        regs.rdx = PORT.into();
        fd.set_regs(&regs).unwrap();
        fd
    }
}

fn flat_protected_mode(fd: &VcpuFd) {
    let flat = |selector, type_| kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_,
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..Default::default()
    };
    let mut sregs = fd.get_sregs().unwrap();
    sregs.cs = flat(8, 0xb);
    let data = flat(16, 0x3);
    (sregs.ds, sregs.es, sregs.fs) = (data, data, data);
    (sregs.gs, sregs.ss) = (data, data);
    sregs.cr0 |= 1;
    sregs.idt.limit = 0;
    fd.set_sregs(&sregs).unwrap();
}
