// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where the virtual processor is: outside VMX operation, in L1, or in L2.

/// The virtual processor's VMX operation.
///
/// ```text
///          VMXON               VMLAUNCH, VMRESUME            hardware entered
///   Off ----------> Root ------------------------> NonRoot ------------------> NonRoot
///    ^               | ^                           Run::Pending                Run::Entered
///    |    VMXOFF     | |                             |                           |
///    +---------------+ +------------ failed entry ---+------- exit to L1 --------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// No VMXON was executed.
    Off,
    /// VMX root operation: L1 runs.
    Root(Root),
    /// VMX non-root operation: L2 runs, or is about to.
    NonRoot(NonRoot),
}

/// L1 in VMX root operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Root {
    /// The physical address of the VMXON region.
    pub vmxon: u64,
    /// The physical address of the current VMCS.
    pub current: Option<u64>,
}

/// L2 in VMX non-root operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NonRoot {
    /// The physical address of the VMXON region.
    pub vmxon: u64,
    /// The physical address of the current VMCS: there always is one.
    pub current: u64,
    /// Whether the hardware has entered L2 since L1 launched it.
    pub run: Run,
}

/// Whether what L1 asked for by VMLAUNCH or VMRESUME has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Run {
    /// Not yet: L2 must be entered before anything may make it exit to L1 (KVM's
    /// `nested_run_pending`).
    Pending,
    /// L2 was entered.
    Entered,
}

impl Operation {
    /// The VMXON region, in VMX operation.
    pub const fn vmxon(&self) -> Option<u64> {
        match self {
            Self::Off => None,
            Self::Root(root) => Some(root.vmxon),
            Self::NonRoot(non_root) => Some(non_root.vmxon),
        }
    }

    /// The current VMCS.
    pub const fn current(&self) -> Option<u64> {
        match self {
            Self::Off => None,
            Self::Root(root) => root.current,
            Self::NonRoot(non_root) => Some(non_root.current),
        }
    }

    /// Whether L2 is active.
    pub const fn is_non_root(&self) -> bool {
        matches!(self, Self::NonRoot(_))
    }

    /// Whether an entry to L2 is pending.
    pub const fn is_run_pending(&self) -> bool {
        matches!(
            self,
            Self::NonRoot(NonRoot {
                run: Run::Pending,
                ..
            })
        )
    }
}
