// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the VMM gives to a virtual processor that has VMX in software.

use std::io;

use crate::l0::Interrupts;
use crate::memory::L1Memory;
use crate::msrs::MsrFault;

/// What arrived at the virtual processor, other than interrupts with a vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// A non-maskable interrupt.
    pub nmi: bool,
    /// An INIT signal.
    pub init: bool,
    /// A start-up IPI with this vector.
    pub start_up: Option<u8>,
    /// A system-management interrupt.
    pub smi: bool,
}

/// The machine around the virtual processor. The VMM has its interrupt controllers: KVM's own cannot
/// be asked for a vector without taking it.
pub trait World: Send {
    /// L1's physical memory.
    fn memory(&self) -> &dyn L1Memory;

    /// L1's interrupt controller.
    fn interrupts(&mut self) -> &mut dyn Interrupts;

    /// Lets time pass for the devices, and takes what arrived since.
    fn poll(&mut self) -> Signals;

    /// The virtual processor has nothing to do for so many nanoseconds, unless something arrives:
    /// kick it then. `None`: nothing but an event wakes it.
    fn wake_after(&mut self, nanoseconds: Option<u64>);

    /// RDMSR of an MSR that the VMM's devices have (IA32_APIC_BASE, IA32_TSC_DEADLINE, x2APIC).
    /// `None`: they have not.
    fn read_msr(&mut self, index: u32) -> Option<Result<u64, MsrFault>>;

    /// WRMSR of such an MSR.
    fn write_msr(&mut self, index: u32, value: u64) -> Option<Result<(), MsrFault>>;

    /// CR8.
    fn cr8(&self) -> u64;

    /// Writes CR8.
    fn set_cr8(&mut self, value: u64);
}

/// The VM on which an L2 with EPT runs: memory of L1's in slots. The VMM has it, since it knows where
/// L1's memory is mapped.
pub trait L2Memory: Send {
    /// How many slots there may be.
    fn slots(&self) -> u32;

    /// Makes L2 see `length` bytes of L1's memory from `l1_physical` on at `guest_physical`, in a
    /// slot that is not in use. All three are multiples of 4096. `Ok(false)`: not all of that is
    /// L1's memory, and nothing was mapped.
    ///
    /// # Errors
    ///
    /// KVM's.
    fn map(
        &mut self,
        slot: u32,
        guest_physical: u64,
        l1_physical: u64,
        length: u64,
        writable: bool,
    ) -> io::Result<bool>;

    /// Takes back what is in a slot.
    ///
    /// # Errors
    ///
    /// KVM's.
    fn unmap(&mut self, slot: u32) -> io::Result<()>;
}
