// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the host has.

use kvm_ioctls::{Cap, Kvm};
use nested_vmx::kvm::{Offered, STATE_SIZE};

/// A host with KVM.
pub struct Host {
    pub kvm: Kvm,
}

impl Host {
    /// KVM, or `None` after one line that says why there is none.
    pub fn with_kvm(test: &str) -> Option<Self> {
        match Kvm::new() {
            Ok(kvm) => Some(Self { kvm }),
            Err(error) => {
                eprintln!("SKIPPED: nested-vmx {test}: /dev/kvm cannot be opened: {error}");
                None
            }
        }
    }

    /// KVM with nested VMX, or `None` after one line that says what is missing.
    pub fn with_nested_vmx(test: &str) -> Option<Self> {
        let host = Self::with_kvm(test)?;
        if let Some(lacks) = host.lacks() {
            eprintln!("SKIPPED: nested-vmx {test}: {lacks}");
            return None;
        }
        Some(host)
    }

    /// Whether guests can have VMX.
    pub fn has_nested_vmx(&self) -> bool {
        self.lacks().is_none()
    }

    /// What is missing for nested VMX.
    fn lacks(&self) -> Option<&'static str> {
        let offered = Offered::of(&self.kvm).expect("what KVM offers");
        let size = self.kvm.check_extension_int(Cap::NestedState);
        if !offered.vmx_in_cpuid {
            Some("KVM_GET_SUPPORTED_CPUID has no VMX: this host's KVM runs no nested VMX")
        } else if usize::try_from(size).ok() != Some(STATE_SIZE) {
            Some("KVM_CAP_NESTED_STATE is not what VMX has")
        } else {
            None
        }
    }
}
