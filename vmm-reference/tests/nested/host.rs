// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whether this host can run the tests.

use std::env;
use std::fmt::Debug;
use std::str::FromStr;

use kvm_ioctls::Kvm;
use nested_vmx::kvm::Offered;

/// This host's KVM, if it has nested VMX. Else says on standard output what is missing.
pub fn kvm_with_nested_vmx(test: &str) -> Option<Kvm> {
    let lacks = |what: &str| {
        println!("SKIPPED: {test}: {what}; `cargo xtask lab vmx` is a machine that has it");
        None
    };
    let Ok(kvm) = Kvm::new() else {
        return lacks("this host has no /dev/kvm that can be opened");
    };
    match Offered::of(&kvm).unwrap().vmx_in_cpuid {
        true => Some(kvm),
        false => lacks("this host's KVM has no nested VMX (kvm_intel with nested=1)"),
    }
}

/// A number from the environment.
pub fn number<T: FromStr<Err: Debug>>(name: &str, default: T) -> T {
    match env::var(name) {
        Ok(text) => text.parse().unwrap(),
        Err(_) => default,
    }
}
