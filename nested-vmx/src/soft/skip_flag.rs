// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The flag by which others keep the virtual processor from entering its guests.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use vcpu_runner::SkipFlag;
use vcpu_runner::kvm::KvmSkipFlag;

/// A flag that its vCPU's thread looks at, too.
trait Flag: SkipFlag {
    fn is_set(&self) -> bool;
}

impl Flag for KvmSkipFlag {
    fn is_set(&self) -> bool {
        Self::is_set(self)
    }
}

/// The skip flag of a vCPU that is made of several of KVM's.
#[derive(Debug)]
pub struct SoftSkipFlag(Flags<KvmSkipFlag>);

#[derive(Debug)]
struct Flags<F> {
    /// Whether somebody wants the vCPU outside. The flags below are used by the vCPU's thread itself
    /// as well, and are set again where this says so.
    asked: AtomicBool,
    flags: Vec<Arc<F>>,
}

impl SoftSkipFlag {
    pub(crate) fn new(flags: Vec<Arc<KvmSkipFlag>>) -> Self {
        Self(Flags::new(flags))
    }

    /// Whether one of the vCPUs will not be entered: then the runner has to clear them.
    pub(crate) fn is_set(&self) -> bool {
        self.0.is_set()
    }
}

impl<F: Flag> Flags<F> {
    fn new(flags: Vec<Arc<F>>) -> Self {
        Self {
            asked: AtomicBool::new(false),
            flags,
        }
    }

    /// A late kick may be in the middle of [`Self::set`] when the runner clears the flags for the next
    /// stay. What it sets afterwards keeps a vCPU from being entered, though nobody has asked.
    fn is_set(&self) -> bool {
        self.asked.load(Ordering::SeqCst) || self.flags.iter().any(|flag| flag.is_set())
    }

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

impl SkipFlag for SoftSkipFlag {
    fn set(&self) {
        self.0.set();
    }

    fn clear(&self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;
    use std::sync::Mutex;

    use super::*;

    type Hook = Box<dyn FnOnce() + Send>;

    /// A flag before whose setting something else happens.
    #[derive(Default)]
    struct Late {
        is_set: AtomicBool,
        before: Mutex<Option<Hook>>,
    }

    impl SkipFlag for Late {
        fn set(&self) {
            if let Some(hook) = self.before.lock().unwrap().take() {
                hook();
            }
            self.is_set.store(true, Ordering::SeqCst);
        }

        fn clear(&self) {
            self.is_set.store(false, Ordering::SeqCst);
        }
    }

    impl Flag for Late {
        fn is_set(&self) -> bool {
            self.is_set.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn a_kick_that_is_cleared_half_way_is_seen() {
        for late in 0..2 {
            let flags = Arc::new(Flags::new(Vec::from([
                Arc::new(Late::default()),
                Arc::default(),
            ])));
            let cleared = Arc::clone(&flags);
            let hook: Hook = Box::new(move || cleared.clear());
            *flags.flags[late].before.lock().unwrap() = Some(hook);
            flags.set();
            assert!(flags.flags[1].is_set());
            assert!(
                flags.is_set(),
                "a vCPU that is not entered, and nobody knows"
            );
            flags.clear();
            assert!(!flags.is_set());
            assert!(flags.flags.iter().all(|flag| !flag.is_set()));
        }
    }
}
