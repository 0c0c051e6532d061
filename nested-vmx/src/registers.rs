// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Bits of registers that VMX looks at (SDM volume 3, chapter 2; volume 1, section 3.4.3).

/// CR0.
pub mod cr0 {
    /// Protection enable.
    pub const PE: u64 = 1 << 0;
    /// Monitor coprocessor.
    pub const MP: u64 = 1 << 1;
    /// Emulation.
    pub const EM: u64 = 1 << 2;
    /// Task switched.
    pub const TS: u64 = 1 << 3;
    /// Extension type.
    pub const ET: u64 = 1 << 4;
    /// Numeric error.
    pub const NE: u64 = 1 << 5;
    /// Write protect.
    pub const WP: u64 = 1 << 16;
    /// Not write-through.
    pub const NW: u64 = 1 << 29;
    /// Cache disable.
    pub const CD: u64 = 1 << 30;
    /// Paging.
    pub const PG: u64 = 1 << 31;
}

/// CR4.
pub mod cr4 {
    /// Time-stamp disable.
    pub const TSD: u64 = 1 << 2;
    /// Page-size extensions.
    pub const PSE: u64 = 1 << 4;
    /// Physical-address extension.
    pub const PAE: u64 = 1 << 5;
    /// 57-bit linear addresses.
    pub const LA57: u64 = 1 << 12;
    /// VMX enable.
    pub const VMXE: u64 = 1 << 13;
    /// PCID enable.
    pub const PCIDE: u64 = 1 << 17;
    /// Supervisor-mode execution prevention.
    pub const SMEP: u64 = 1 << 20;
    /// Supervisor-mode access prevention.
    pub const SMAP: u64 = 1 << 21;
    /// Protection keys for user-mode pages.
    pub const PKE: u64 = 1 << 22;
    /// Control-flow enforcement.
    pub const CET: u64 = 1 << 23;
    /// Protection keys for supervisor-mode pages.
    pub const PKS: u64 = 1 << 24;
    /// User interrupts.
    pub const UINTR: u64 = 1 << 25;
    /// Flexible return and event delivery.
    pub const FRED: u64 = 1 << 32;
}

/// IA32_EFER.
pub mod efer {
    /// System call enable.
    pub const SCE: u64 = 1 << 0;
    /// IA-32e mode enable.
    pub const LME: u64 = 1 << 8;
    /// IA-32e mode active.
    pub const LMA: u64 = 1 << 10;
    /// Execute disable.
    pub const NXE: u64 = 1 << 11;
}

/// RFLAGS.
pub mod rflags {
    /// Carry.
    pub const CF: u64 = 1 << 0;
    /// Always 1.
    pub const RESERVED_1: u64 = 1 << 1;
    /// Parity.
    pub const PF: u64 = 1 << 2;
    /// Auxiliary carry.
    pub const AF: u64 = 1 << 4;
    /// Zero.
    pub const ZF: u64 = 1 << 6;
    /// Sign.
    pub const SF: u64 = 1 << 7;
    /// Trap.
    pub const TF: u64 = 1 << 8;
    /// Interrupt enable.
    pub const IF: u64 = 1 << 9;
    /// Overflow.
    pub const OF: u64 = 1 << 11;
    /// I/O privilege level.
    pub const IOPL: u64 = 3 << 12;
    /// Resume: no instruction breakpoint for the next instruction.
    pub const RF: u64 = 1 << 16;
    /// Virtual-8086 mode.
    pub const VM: u64 = 1 << 17;
    /// Alignment check; with SMAP, access to user-mode pages.
    pub const AC: u64 = 1 << 18;
}

/// The guest's interruptibility state (SDM volume 3, table 26-3).
pub mod interruptibility {
    /// Blocking by STI.
    pub const STI: u32 = 1 << 0;
    /// Blocking by MOV SS.
    pub const MOV_SS: u32 = 1 << 1;
    /// Blocking by SMI.
    pub const SMI: u32 = 1 << 2;
    /// Blocking by NMI.
    pub const NMI: u32 = 1 << 3;
    /// The VM exit interrupted an enclave.
    pub const ENCLAVE: u32 = 1 << 4;
}

/// The guest's activity state (SDM volume 3, section 26.4.2).
pub mod activity {
    /// Executing instructions.
    pub const ACTIVE: u32 = 0;
    /// Halted.
    pub const HLT: u32 = 1;
    /// Shut down by a triple fault.
    pub const SHUTDOWN: u32 = 2;
    /// Waiting for a start-up IPI.
    pub const WAIT_FOR_SIPI: u32 = 3;
}

/// Pending debug exceptions (SDM volume 3, table 26-4).
pub mod pending_debug {
    /// At least one enabled breakpoint was met.
    pub const ENABLED_BREAKPOINT: u64 = 1 << 12;
    /// A single step.
    pub const BS: u64 = 1 << 14;
    /// In a transactional region.
    pub const RTM: u64 = 1 << 16;
}

/// IA32_DEBUGCTL.
pub mod debugctl {
    /// Single step on branches.
    pub const BTF: u64 = 1 << 1;
}

/// Whether `address` is canonical for a linear-address width of `width` bits (1 to 64): all bits
/// from `width - 1` up are equal (SDM volume 1, section 3.3.7.1).
pub const fn is_canonical(address: u64, width: u32) -> bool {
    let unused = 64 - width;
    ((address << unused) as i64 >> unused) as u64 == address
}

#[cfg(test)]
mod tests {
    use super::is_canonical;

    #[test]
    fn canonical() {
        assert!(is_canonical(0x7fff_ffff_ffff, 48));
        assert!(is_canonical(0xffff_8000_0000_0000, 48));
        assert!(!is_canonical(0x8000_0000_0000, 48));
        assert!(is_canonical(0x8000_0000_0000, 57));
        assert!(!is_canonical(0xaaaa_aaaa_aaaa_aaaa, 57));
    }
}
