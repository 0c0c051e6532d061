// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whether this host can run the tests.

use std::env;
use std::fmt::Debug;
use std::str::FromStr;

use kvm_bindings::KVM_MAX_CPUID_ENTRIES;
use kvm_ioctls::Kvm;

/// CPUID.1:ECX bit 5.
const VMX: u32 = 1 << 5;

/// This host's KVM, if it has nested VMX. Else says on standard output what is missing.
pub fn kvm_with_nested_vmx(test: &str) -> Option<Kvm> {
    let lacks = |what: &str| {
        println!("SKIPPED: {test}: {what}; `cargo xtask lab vmx` is a machine that has it");
        None
    };
    let Ok(kvm) = Kvm::new() else {
        return lacks("this host has no /dev/kvm that can be opened");
    };
    let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).unwrap();
    let vmx = cpuid
        .as_slice()
        .iter()
        .any(|entry| entry.function == 1 && entry.ecx & VMX != 0);
    match vmx {
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
