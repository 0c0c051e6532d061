// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Who gets a VM exit of L2's: L0 or L1 (SDM volume 3, section 27.1, which instructions cause VM
//! exits with which controls; appendix C).
//!
//! vmcs02 makes L2 exit for what L0 wants and for what L1 wants. [`route`] tells the two apart from
//! vmcs12, for each exit reason in the file of its kind.

mod control_registers;
mod exceptions;
mod io;
mod msr;
mod vmcs_fields;

pub(crate) use vmcs_fields::may_access;

use crate::controls::{PrimaryControls, SecondaryControls, TertiaryControls};
use crate::exit_reason::ExitReason;
use crate::interruption::Event;
use crate::memory::L1Memory;
use crate::vmcs::Vmcs;

/// Who gets the exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// L0 handles it. L2 stays active.
    L0,
    /// L2 exits to L1 with it.
    L1,
    /// It was for L0's own sake, and there is nothing to handle.
    Swallow,
}

/// An exit, as far as its route depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit reason.
    pub reason: ExitReason,
    /// The exit qualification.
    pub qualification: u64,
    /// The VM-exit interruption information, for exit reason 0.
    pub event: Option<Event>,
    /// The VM-exit instruction information.
    pub instruction_information: u32,
    /// L2's general-purpose registers, in the order of the encodings in instructions: RAX, RCX,
    /// RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
    pub registers: [u64; 16],
    /// Whether L2 is in 64-bit mode, so that VMREAD, VMWRITE and MOV to a control register have
    /// operands of 64 bits.
    pub is_64_bit: bool,
}

impl Exit {
    /// An exit with this reason, everything else 0.
    pub const fn new(reason: ExitReason) -> Self {
        Self {
            reason,
            qualification: 0,
            event: None,
            instruction_information: 0,
            registers: [0; 16],
            is_64_bit: true,
        }
    }

    /// A register's value, by the low four bits of `number`.
    fn register(&self, number: u32) -> u64 {
        // Four bits, and sixteen registers.
        self.registers
            .get(number as usize & 0xf)
            .copied()
            .unwrap_or(0)
    }

    /// ECX.
    fn ecx(&self) -> u32 {
        self.register(1) as u32
    }
}

/// What L0 intercepts in L2 for itself, beyond what its vmcs01 says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct L0Wants {
    /// Exceptions, one bit a vector.
    pub exceptions: u32,
    /// CPUID is not the guest's to execute now (the kernel's `kvm_is_cpuid_allowed`).
    pub cpuid: bool,
    /// The monitor trap flag is L0's: it steps L2.
    pub monitor_trap: bool,
}

/// Who gets the exit. Exits of failed VM entries are no exits of L2's and are not routed.
pub fn route(exit: &Exit, vmcs12: &Vmcs, memory: &dyn L1Memory, wants: &L0Wants) -> Route {
    use ExitReason as R;
    let primary = vmcs12.primary();
    let secondary = vmcs12.secondary();
    let l1_if = |wanted: bool| if wanted { Route::L1 } else { Route::L0 };
    match exit.reason.basic() {
        R::EXCEPTION_OR_NMI => exceptions::route(exit, vmcs12, wants),
        // L0's own: what waits for L1 or L2 is decided before the next entry.
        R::EXTERNAL_INTERRUPT => Route::L0,
        R::TRIPLE_FAULT | R::TASK_SWITCH | R::INVD | R::VMCALL | R::XSETBV | R::GETSEC => Route::L1,
        R::CPUID => l1_if(!wants.cpuid),
        // Signals that a processor gets while it runs L2 are L1's (it decides what an INIT is).
        R::INIT | R::SIPI | R::IO_SMI | R::OTHER_SMI | R::RSM => Route::L1,
        R::VMCLEAR
        | R::VMLAUNCH
        | R::VMPTRLD
        | R::VMPTRST
        | R::VMRESUME
        | R::VMXOFF
        | R::VMXON
        | R::INVEPT
        | R::INVVPID => Route::L1,
        R::VMREAD => l1_if(vmcs_fields::exits(
            exit,
            vmcs12,
            vmcs12.vmread_bitmap(),
            memory,
        )),
        R::VMWRITE => l1_if(vmcs_fields::exits(
            exit,
            vmcs12,
            vmcs12.vmwrite_bitmap(),
            memory,
        )),
        // A window that only L0 waited for.
        R::INTERRUPT_WINDOW => l1_or_nothing(primary, PrimaryControls::INTERRUPT_WINDOW_EXITING),
        R::NMI_WINDOW => l1_or_nothing(primary, PrimaryControls::NMI_WINDOW_EXITING),
        R::MONITOR_TRAP_FLAG if wants.monitor_trap => Route::L0,
        R::MONITOR_TRAP_FLAG => l1_or_nothing(primary, PrimaryControls::MONITOR_TRAP_FLAG),
        // L1's timer is a deadline that L0 keeps; this exit says that one of the two is due.
        R::PREEMPTION_TIMER => Route::Swallow,
        R::HLT => l1_if(primary.contains(PrimaryControls::HLT_EXITING)),
        R::INVLPG => l1_if(primary.contains(PrimaryControls::INVLPG_EXITING)),
        R::RDPMC => l1_if(primary.contains(PrimaryControls::RDPMC_EXITING)),
        R::RDTSC | R::RDTSCP => l1_if(primary.contains(PrimaryControls::RDTSC_EXITING)),
        R::MWAIT => l1_if(primary.contains(PrimaryControls::MWAIT_EXITING)),
        R::MONITOR => l1_if(primary.contains(PrimaryControls::MONITOR_EXITING)),
        R::PAUSE => l1_if(
            primary.contains(PrimaryControls::PAUSE_EXITING)
                || secondary.contains(SecondaryControls::PAUSE_LOOP_EXITING),
        ),
        R::CR_ACCESS => l1_if(control_registers::exits(exit, vmcs12)),
        R::DR_ACCESS => l1_if(primary.contains(PrimaryControls::MOV_DR_EXITING)),
        R::IO_INSTRUCTION => l1_if(io::exits(exit, vmcs12, memory)),
        R::RDMSR | R::RDMSR_IMMEDIATE => l1_if(msr::exits(exit, vmcs12, memory, msr::Access::Read)),
        R::WRMSR | R::WRMSRNS_IMMEDIATE => {
            l1_if(msr::exits(exit, vmcs12, memory, msr::Access::Write))
        }
        R::RDMSRLIST | R::WRMSRLIST => l1_if(
            vmcs12
                .tertiary()
                .contains(TertiaryControls::ENABLE_MSR_LIST),
        ),
        R::TPR_BELOW_THRESHOLD => l1_if(primary.contains(PrimaryControls::USE_TPR_SHADOW)),
        R::APIC_ACCESS => l1_if(secondary.intersects(SecondaryControls::VIRTUALIZE_APIC_ACCESSES)),
        R::APIC_WRITE | R::VIRTUALIZED_EOI => l1_if(secondary.intersects(
            SecondaryControls::APIC_REGISTER_VIRTUALIZATION
                | SecondaryControls::VIRTUAL_INTERRUPT_DELIVERY,
        )),
        R::GDTR_IDTR_ACCESS | R::LDTR_TR_ACCESS => {
            l1_if(secondary.contains(SecondaryControls::DESCRIPTOR_TABLE_EXITING))
        }
        // L0 walks EPT12 and reflects what it finds.
        R::EPT_VIOLATION | R::EPT_MISCONFIGURATION | R::PML_FULL | R::SPP_EVENT => Route::L0,
        // L0 does what L1's VM-function controls allow, or reflects it.
        R::VMFUNC => Route::L0,
        R::WBINVD => l1_if(secondary.contains(SecondaryControls::WBINVD_EXITING)),
        R::RDRAND => l1_if(secondary.contains(SecondaryControls::RDRAND_EXITING)),
        R::RDSEED => l1_if(secondary.contains(SecondaryControls::RDSEED_EXITING)),
        R::INVPCID => l1_if(
            secondary.contains(SecondaryControls::ENABLE_INVPCID)
                && primary.contains(PrimaryControls::INVLPG_EXITING),
        ),
        R::XSAVES | R::XRSTORS => l1_if(
            secondary.contains(SecondaryControls::ENABLE_XSAVES) && msr::xss_exits(exit, vmcs12),
        ),
        R::ENCLS => l1_if(
            secondary.contains(SecondaryControls::ENCLS_EXITING)
                && bit(vmcs12.encls_exiting_bitmap(), exit.register(0)),
        ),
        R::ENCLV => l1_if(
            secondary.contains(SecondaryControls::ENCLV_EXITING)
                && bit(vmcs12.enclv_exiting_bitmap(), exit.register(0)),
        ),
        R::PCONFIG => l1_if(
            secondary.contains(SecondaryControls::ENABLE_PCONFIG)
                && bit(vmcs12.pconfig_exiting_bitmap(), exit.register(0)),
        ),
        R::UMWAIT | R::TPAUSE => l1_if(
            secondary.contains(SecondaryControls::ENABLE_USER_WAIT_AND_PAUSE)
                && primary.contains(PrimaryControls::RDTSC_EXITING),
        ),
        R::LOADIWKEY => l1_if(
            vmcs12
                .tertiary()
                .contains(TertiaryControls::LOADIWKEY_EXITING),
        ),
        R::BUS_LOCK => l1_if(secondary.contains(SecondaryControls::BUS_LOCK_DETECTION)),
        R::NOTIFY => l1_if(secondary.contains(SecondaryControls::NOTIFY_VM_EXITING)),
        // Machine checks, SEAM and TDX are the host's; what has no name is not L1's to see.
        _ => Route::L0,
    }
}

fn l1_or_nothing(controls: PrimaryControls, wanted: PrimaryControls) -> Route {
    match controls.contains(wanted) {
        true => Route::L1,
        false => Route::Swallow,
    }
}

/// Bit `leaf` of a bitmap; leaves from 63 on share bit 63 (SDM volume 3, sections 26.6.16 to
/// 26.6.18). Only the low 32 bits of the register count.
const fn bit(bitmap: u64, leaf: u64) -> bool {
    let leaf = leaf & 0xffff_ffff;
    let number = if leaf < 63 { leaf } else { 63 };
    bitmap >> number & 1 != 0
}
