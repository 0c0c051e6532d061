// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! VM-instruction error numbers (SDM volume 3, section 32.4).

use thiserror::Error;

macro_rules! errors {
    ($($number:literal $name:ident $text:literal;)*) => {
        /// What the VM-instruction error field says of a VMX instruction that failed. The number
        /// is the discriminant.
        #[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum InstructionError {
            $(
                #[doc = concat!($text, ".")]
                #[error($text)]
                $name = $number,
            )*
        }

        impl InstructionError {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The one with this number.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

errors! {
    1 VmcallInVmxRoot "VMCALL executed in VMX root operation";
    2 VmclearInvalidAddress "VMCLEAR with invalid physical address";
    3 VmclearVmxonPointer "VMCLEAR with VMXON pointer";
    4 VmlaunchNonClear "VMLAUNCH with non-clear VMCS";
    5 VmresumeNonLaunched "VMRESUME with non-launched VMCS";
    6 VmresumeAfterVmxoff "VMRESUME after VMXOFF";
    7 InvalidControls "VM entry with invalid control fields";
    8 InvalidHostState "VM entry with invalid host-state fields";
    9 VmptrldInvalidAddress "VMPTRLD with invalid physical address";
    10 VmptrldVmxonPointer "VMPTRLD with VMXON pointer";
    11 VmptrldRevision "VMPTRLD with incorrect VMCS revision identifier";
    12 UnsupportedComponent "VMREAD or VMWRITE from or to unsupported VMCS component";
    13 ReadOnlyComponent "VMWRITE to read-only VMCS component";
    15 VmxonInVmxRoot "VMXON executed in VMX root operation";
    16 InvalidExecutiveVmcs "VM entry with invalid executive-VMCS pointer";
    17 NonLaunchedExecutiveVmcs "VM entry with non-launched executive VMCS";
    18 ExecutiveVmcsNotVmxonPointer "VM entry with executive-VMCS pointer not VMXON pointer";
    19 VmcallNonClear "VMCALL with non-clear VMCS";
    20 VmcallInvalidExitControls "VMCALL with invalid VM-exit control fields";
    22 VmcallMsegRevision "VMCALL with incorrect MSEG revision identifier";
    23 VmxoffDualMonitor "VMXOFF under dual-monitor treatment of SMIs and SMM";
    24 VmcallSmmMonitorFeatures "VMCALL with invalid SMM-monitor features";
    25 InvalidControlsInExecutiveVmcs "VM entry with invalid VM-execution control fields in executive VMCS";
    26 BlockedByMovSs "VM entry with events blocked by MOV SS";
    28 InvalidInveptInvvpidOperand "Invalid operand to INVEPT/INVVPID";
}

impl InstructionError {
    /// Its number.
    pub const fn number(self) -> u32 {
        self as u32
    }
}
