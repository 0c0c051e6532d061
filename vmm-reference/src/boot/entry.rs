// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The registers that the first vCPU starts with. (The others wait for it to wake them.)

use kvm_bindings::{kvm_fpu, kvm_regs, kvm_sregs};
use kvm_ioctls::VcpuFd;
use vm_memory::GuestAddress;

use super::gdt::{self, Descriptor};
use super::multiboot;
use crate::kernel::Entry;
use crate::layout;

/// Protected mode.
const CR0_PE: u64 = 1;
/// The numeric coprocessor is a 387: always set.
const CR0_ET: u64 = 1 << 4;
/// Paging.
const CR0_PG: u64 = 1 << 31;
/// Page-table entries of 64 bits.
const CR4_PAE: u64 = 1 << 5;
/// Long mode, enabled and active.
const EFER_LME_LMA: u64 = 1 << 8 | 1 << 10;
/// Bit 1 of RFLAGS is always set; interrupts are off.
const RFLAGS: u64 = 1 << 1;

/// How the first vCPU enters a guest that [`prepare`](super::prepare) set up in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootEntry {
    pub(super) entry: Entry,
}

impl BootEntry {
    /// The kernel's entry point and its protocol.
    pub fn entry(&self) -> Entry {
        self.entry
    }

    /// The general registers.
    pub fn regs(&self) -> kvm_regs {
        let GuestAddress(rip) = self.entry.address();
        let start = kvm_regs {
            rip,
            rflags: RFLAGS,
            ..Default::default()
        };
        match self.entry {
            Entry::Pvh(_) => kvm_regs {
                rbx: layout::PVH_START_INFO,
                ..start
            },
            Entry::Multiboot(_) => kvm_regs {
                rax: multiboot::MAGIC,
                rbx: layout::MULTIBOOT_INFO,
                ..start
            },
            Entry::Linux64(_) => kvm_regs {
                rsi: layout::ZERO_PAGE,
                rsp: layout::BOOT_STACK,
                rbp: layout::BOOT_STACK,
                ..start
            },
        }
    }

    /// The system registers. What the protocols leave open, the APIC base above all, stays as
    /// after `reset`.
    pub fn sregs(&self, reset: kvm_sregs) -> kvm_sregs {
        let mut sregs = reset;
        let data = Descriptor::DATA.segment(gdt::DATA_SELECTOR);
        for segment in [
            &mut sregs.ds,
            &mut sregs.es,
            &mut sregs.fs,
            &mut sregs.gs,
            &mut sregs.ss,
        ] {
            *segment = data;
        }
        sregs.cs = self.code().segment(gdt::CODE_SELECTOR);
        sregs.tr = Descriptor::TSS.segment(gdt::TSS_SELECTOR);
        sregs.gdt.base = layout::BOOT_GDT;
        sregs.gdt.limit = (gdt::ENTRIES * 8 - 1) as u16;
        sregs.idt.base = 0;
        // No handler is there yet: an exception ends in a triple fault.
        sregs.idt.limit = 0;
        sregs.cr0 = CR0_PE | CR0_ET;
        sregs.cr4 = 0;
        sregs.efer = 0;
        if let Entry::Linux64(_) = self.entry {
            sregs.cr0 |= CR0_PG;
            sregs.cr3 = layout::BOOT_PML4;
            sregs.cr4 = CR4_PAE;
            sregs.efer = EFER_LME_LMA;
        }
        sregs
    }

    /// The floating-point unit as FNINIT and a reset leave it.
    pub fn fpu(&self) -> kvm_fpu {
        kvm_fpu {
            fcw: 0x37f,
            mxcsr: 0x1f80,
            ..Default::default()
        }
    }

    /// Sets all of these on the first vCPU.
    ///
    /// # Errors
    /// What KVM says.
    pub fn configure(&self, vcpu: &VcpuFd) -> Result<(), kvm_ioctls::Error> {
        vcpu.set_sregs(&self.sregs(vcpu.get_sregs()?))?;
        vcpu.set_regs(&self.regs())?;
        vcpu.set_fpu(&self.fpu())
    }

    pub(super) fn code(&self) -> Descriptor {
        match self.entry {
            Entry::Pvh(_) | Entry::Multiboot(_) => Descriptor::CODE_32,
            Entry::Linux64(_) => Descriptor::CODE_64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reset() -> kvm_sregs {
        kvm_sregs {
            apic_base: 0xfee0_0900,
            cr0: 0x6000_0010,
            ..Default::default()
        }
    }

    #[test]
    fn pvh_starts_in_protected_mode_without_paging() {
        let boot = BootEntry {
            entry: Entry::Pvh(GuestAddress(0x100_0010)),
        };
        let (regs, sregs) = (boot.regs(), boot.sregs(reset()));
        assert_eq!(
            (regs.rip, regs.rbx, regs.rflags),
            (0x100_0010, layout::PVH_START_INFO, 2)
        );
        assert_eq!((sregs.cr0, sregs.cr4, sregs.efer), (0x11, 0, 0));
        assert_eq!((sregs.cs.l, sregs.cs.db, sregs.cs.limit), (0, 1, u32::MAX));
        assert_eq!((sregs.tr.limit, sregs.tr.type_), (0x67, 0xb));
        assert_eq!(sregs.apic_base, 0xfee0_0900);
    }

    #[test]
    fn multiboot_starts_like_pvh_but_for_two_registers() {
        let entry = GuestAddress(0x10_0010);
        let boot = BootEntry {
            entry: Entry::Multiboot(entry),
        };
        let pvh = BootEntry {
            entry: Entry::Pvh(entry),
        };
        let regs = boot.regs();
        assert_eq!((regs.rip, regs.rax), (0x10_0010, 0x2bad_b002));
        assert_eq!((regs.rbx, regs.rflags), (layout::MULTIBOOT_INFO, 2));
        assert_eq!(boot.sregs(reset()), pvh.sregs(reset()));
    }

    #[test]
    fn linux_starts_in_long_mode() {
        let boot = BootEntry {
            entry: Entry::Linux64(GuestAddress(0x100_0200)),
        };
        let (regs, sregs) = (boot.regs(), boot.sregs(reset()));
        assert_eq!((regs.rip, regs.rsi), (0x100_0200, layout::ZERO_PAGE));
        assert_eq!(
            (sregs.cr0, sregs.cr4, sregs.efer),
            (0x8000_0011, 0x20, 0x500)
        );
        assert_eq!(sregs.cr3, layout::BOOT_PML4);
        assert_eq!((sregs.cs.selector, sregs.cs.l, sregs.cs.db), (0x10, 1, 0));
        assert_eq!((sregs.ss.selector, sregs.ds.selector), (0x18, 0x18));
    }
}
