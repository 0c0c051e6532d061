// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The flag by which others keep the virtual processor from entering its guests.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use vcpu_runner::SkipFlag;
use vcpu_runner::kvm::KvmSkipFlag;

/// The skip flag of a vCPU that is made of several of KVM's.
#[derive(Debug)]
pub struct SoftSkipFlag {
    /// Whether somebody wants the vCPU outside. The flags below are used by the vCPU's thread itself
    /// as well, and are set again where this says so.
    asked: AtomicBool,
    flags: Vec<Arc<KvmSkipFlag>>,
}

impl SoftSkipFlag {
    pub(crate) fn new(flags: Vec<Arc<KvmSkipFlag>>) -> Self {
        Self {
            asked: AtomicBool::new(false),
            flags,
        }
    }

    /// Whether somebody wants the vCPU outside.
    pub(crate) fn is_set(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }
}

impl SkipFlag for SoftSkipFlag {
    fn set(&self) {
        // In this order: who clears one of the flags looks at `asked` afterwards.
        self.asked.store(true, Ordering::SeqCst);
        for flag in &self.flags {
            flag.set();
        }
    }

    fn clear(&self) {
        self.asked.store(false, Ordering::SeqCst);
        for flag in &self.flags {
            flag.clear();
        }
    }
}
