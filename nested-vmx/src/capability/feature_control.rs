// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! IA32_FEATURE_CONTROL (SDM volume 3, section 25.7; volume 4, table 2-2).

use bitflags::bitflags;

bitflags! {
    /// Which features the firmware turned on.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct FeatureControl: u64 {
        /// The register is locked: a further WRMSR causes #GP, and VMXON can work.
        const LOCK = 1 << 0;
        /// VMXON in SMX operation.
        const VMX_INSIDE_SMX = 1 << 1;
        /// VMXON outside SMX operation.
        const VMX_OUTSIDE_SMX = 1 << 2;
        /// SGX launch control.
        const SGX_LAUNCH_CONTROL = 1 << 17;
        /// SGX.
        const SGX = 1 << 18;
        /// Local machine check.
        const LMCE = 1 << 20;
    }
}

impl FeatureControl {
    /// What firmware sets for a hypervisor: VMX outside of SMX, locked.
    pub const VMX: Self = Self::LOCK.union(Self::VMX_OUTSIDE_SMX);

    /// Whether VMXON works outside SMX operation: locked, with the enable bit (SDM volume 3,
    /// section 25.7).
    pub const fn allows_vmxon(self) -> bool {
        self.contains(Self::VMX)
    }
}
