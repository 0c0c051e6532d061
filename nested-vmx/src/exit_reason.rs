// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! VM-exit reasons (SDM volume 3, appendix C, "VMX Basic Exit Reasons"; the format is that of
//! section 26.9.1).

use core::fmt;

/// The exit-reason field of a VMCS: bits 15:0 are the basic exit reason.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExitReason(pub u32);

macro_rules! reasons {
    ($($name:ident = $number:literal;)*) => {
        impl ExitReason {
            $(
                #[doc = concat!("Basic exit reason ", stringify!($number), ".")]
                pub const $name: Self = Self($number);
            )*

            /// All basic exit reasons that have a name.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name of the basic exit reason: `EXTERNAL_INTERRUPT`.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 & 0xffff {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

reasons! {
    EXCEPTION_OR_NMI = 0;
    EXTERNAL_INTERRUPT = 1;
    TRIPLE_FAULT = 2;
    INIT = 3;
    SIPI = 4;
    IO_SMI = 5;
    OTHER_SMI = 6;
    INTERRUPT_WINDOW = 7;
    NMI_WINDOW = 8;
    TASK_SWITCH = 9;
    CPUID = 10;
    GETSEC = 11;
    HLT = 12;
    INVD = 13;
    INVLPG = 14;
    RDPMC = 15;
    RDTSC = 16;
    RSM = 17;
    VMCALL = 18;
    VMCLEAR = 19;
    VMLAUNCH = 20;
    VMPTRLD = 21;
    VMPTRST = 22;
    VMREAD = 23;
    VMRESUME = 24;
    VMWRITE = 25;
    VMXOFF = 26;
    VMXON = 27;
    CR_ACCESS = 28;
    DR_ACCESS = 29;
    IO_INSTRUCTION = 30;
    RDMSR = 31;
    WRMSR = 32;
    ENTRY_FAILURE_GUEST_STATE = 33;
    ENTRY_FAILURE_MSR_LOADING = 34;
    MWAIT = 36;
    MONITOR_TRAP_FLAG = 37;
    MONITOR = 39;
    PAUSE = 40;
    ENTRY_FAILURE_MACHINE_CHECK = 41;
    TPR_BELOW_THRESHOLD = 43;
    APIC_ACCESS = 44;
    VIRTUALIZED_EOI = 45;
    GDTR_IDTR_ACCESS = 46;
    LDTR_TR_ACCESS = 47;
    EPT_VIOLATION = 48;
    EPT_MISCONFIGURATION = 49;
    INVEPT = 50;
    RDTSCP = 51;
    PREEMPTION_TIMER = 52;
    INVVPID = 53;
    WBINVD = 54;
    XSETBV = 55;
    APIC_WRITE = 56;
    RDRAND = 57;
    INVPCID = 58;
    VMFUNC = 59;
    ENCLS = 60;
    RDSEED = 61;
    PML_FULL = 62;
    XSAVES = 63;
    XRSTORS = 64;
    PCONFIG = 65;
    SPP_EVENT = 66;
    UMWAIT = 67;
    TPAUSE = 68;
    LOADIWKEY = 69;
    ENCLV = 70;
    ENQCMD_PASID = 72;
    ENQCMDS_PASID = 73;
    BUS_LOCK = 74;
    NOTIFY = 75;
    SEAMCALL = 76;
    TDCALL = 77;
    RDMSRLIST = 78;
    WRMSRLIST = 79;
    URDMSR = 80;
    UWRMSR = 81;
    RDMSR_IMMEDIATE = 84;
    WRMSRNS_IMMEDIATE = 85;
}

impl ExitReason {
    /// Bit 31: the VM entry failed.
    pub const ENTRY_FAILURE: u32 = 1 << 31;

    /// Without bits 31:16.
    pub const fn basic(self) -> Self {
        Self(self.0 & 0xffff)
    }

    /// This basic exit reason as that of a failed VM entry.
    pub const fn entry_failure(self) -> Self {
        Self(self.0 | Self::ENTRY_FAILURE)
    }

    /// Whether the VM entry failed.
    pub const fn is_entry_failure(self) -> bool {
        self.0 & Self::ENTRY_FAILURE != 0
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0 & 0xffff)?,
            None => write!(f, "exit reason {}", self.0 & 0xffff)?,
        }
        match self.is_entry_failure() {
            true => f.write_str(", failed VM entry"),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
