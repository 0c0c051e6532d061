// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Why a vCPU came back from the guest.

use crate::ExitKind;

/// One exit to userspace, with its data borrowed from the vCPU's run area: what a read should give
/// is written into the slice before the next entry.
///
/// Source: KVM's `api.rst`, section 5, `struct kvm_run`.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit<'a> {
    /// KVM_EXIT_IO, out: the guest writes to a port. `data` holds one or more elements of `size`
    /// bytes (string instructions give several).
    IoOut {
        /// The port.
        port: u16,
        /// Bytes per element: 1, 2 or 4.
        size: u8,
        /// The elements, little-endian.
        data: &'a [u8],
    },
    /// KVM_EXIT_IO, in: the guest reads from a port into `data`.
    IoIn {
        /// The port.
        port: u16,
        /// Bytes per element: 1, 2 or 4.
        size: u8,
        /// Where the elements go, little-endian.
        data: &'a mut [u8],
    },
    /// KVM_EXIT_MMIO, a read of 1 to 8 bytes.
    MmioRead {
        /// Guest physical address.
        address: u64,
        /// Where the value goes, little-endian.
        data: &'a mut [u8],
    },
    /// KVM_EXIT_MMIO, a write of 1 to 8 bytes.
    MmioWrite {
        /// Guest physical address.
        address: u64,
        /// The value, little-endian.
        data: &'a [u8],
    },
    /// KVM_EXIT_HLT: the guest halts and KVM has no interrupt controller of its own to wait on.
    Hlt,
    /// KVM_EXIT_SHUTDOWN: triple fault, or what the hardware treats as one.
    Shutdown,
    /// KVM_EXIT_SYSTEM_EVENT: reset, power-off, crash and so on.
    SystemEvent {
        /// KVM_SYSTEM_EVENT_*.
        kind: u32,
        /// The event's own data.
        data: &'a [u64],
    },
    /// KVM_EXIT_INTERNAL_ERROR: KVM cannot go on with this guest, an instruction that its emulator
    /// lacks above all.
    InternalError {
        /// KVM_INTERNAL_ERROR_*.
        suberror: u32,
        /// The error's own data; for an emulation failure flags and, where KVM has them, the
        /// instruction's bytes.
        data: &'a [u64],
    },
    /// KVM_EXIT_FAIL_ENTRY: the hardware refused the entry.
    FailEntry {
        /// The hardware's reason.
        reason: u64,
        /// The physical CPU.
        cpu: u32,
    },
    /// KVM_EXIT_DEBUG: single step or a breakpoint of KVM_SET_GUEST_DEBUG.
    Debug(DebugExit),
    /// KVM_EXIT_IRQ_WINDOW_OPEN: the guest could now take the interrupt that
    /// `request_interrupt_window` asked for.
    IrqWindowOpen,
    /// KVM_EXIT_IOAPIC_EOI, with a split interrupt controller.
    IoapicEoi {
        /// The vector that was acknowledged.
        vector: u8,
    },
    /// KVM_EXIT_HYPERCALL.
    Hypercall {
        /// The hypercall's number.
        number: u64,
        /// Its arguments.
        args: [u64; 6],
        /// Where its result goes, little-endian.
        result: &'a mut [u8; 8],
    },
    /// KVM_EXIT_X86_RDMSR, with KVM_CAP_X86_USER_SPACE_MSR.
    ReadMsr {
        /// The MSR.
        index: u32,
        /// KVM_MSR_EXIT_REASON_*.
        reason: u32,
        /// Where its value goes, little-endian.
        value: &'a mut [u8; 8],
        /// Set to 1 to give the guest #GP.
        error: &'a mut u8,
    },
    /// KVM_EXIT_X86_WRMSR, with KVM_CAP_X86_USER_SPACE_MSR.
    WriteMsr {
        /// The MSR.
        index: u32,
        /// KVM_MSR_EXIT_REASON_*.
        reason: u32,
        /// The value.
        value: u64,
        /// Set to 1 to give the guest #GP.
        error: &'a mut u8,
    },
    /// KVM_EXIT_MEMORY_FAULT.
    MemoryFault {
        /// KVM_MEMORY_EXIT_FLAG_*.
        flags: u64,
        /// Guest physical address.
        address: u64,
        /// Length of the access in bytes.
        size: u64,
    },
    /// Any other exit.
    Other {
        /// KVM_EXIT_*.
        reason: u32,
    },
}

/// What a KVM_EXIT_DEBUG tells (`struct kvm_debug_exit_arch`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DebugExit {
    /// The exception: 1 is #DB, 3 is #BP.
    pub exception: u32,
    /// Linear address at which the guest stands.
    pub pc: u64,
    /// DR6: which condition was met.
    pub dr6: u64,
    /// DR7 at that moment.
    pub dr7: u64,
}

impl Exit<'_> {
    /// Its kind.
    pub fn kind(&self) -> ExitKind {
        match self {
            Self::IoOut { .. } => ExitKind::IoOut,
            Self::IoIn { .. } => ExitKind::IoIn,
            Self::MmioRead { .. } => ExitKind::MmioRead,
            Self::MmioWrite { .. } => ExitKind::MmioWrite,
            Self::Hlt => ExitKind::Hlt,
            Self::Shutdown => ExitKind::Shutdown,
            Self::SystemEvent { .. } => ExitKind::SystemEvent,
            Self::InternalError { .. } => ExitKind::InternalError,
            Self::FailEntry { .. } => ExitKind::FailEntry,
            Self::Debug(_) => ExitKind::Debug,
            Self::IrqWindowOpen => ExitKind::IrqWindowOpen,
            Self::IoapicEoi { .. } => ExitKind::IoapicEoi,
            Self::Hypercall { .. } => ExitKind::Hypercall,
            Self::ReadMsr { .. } => ExitKind::ReadMsr,
            Self::WriteMsr { .. } => ExitKind::WriteMsr,
            Self::MemoryFault { .. } => ExitKind::MemoryFault,
            Self::Other { .. } => ExitKind::Other,
        }
    }
}
