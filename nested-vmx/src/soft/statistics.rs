// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a virtual processor with VMX in software has done.

/// Counts, from its beginning on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SoftStatistics {
    /// VMX instructions that were carried out for L1.
    pub vmx_instructions: u64,
    /// Instructions of L1 that were executed one by one.
    pub l1_steps: u64,
    /// Instructions of L2 that were executed, one by one.
    pub l2_steps: u64,
    /// Instructions of L2 that KVM could not emulate: L2 was given #UD.
    pub l2_not_emulated: u64,
    /// Entries to L2 with an event of L1's that waited: made by immediate exits.
    pub immediate_exits: u64,
    /// Events that were delivered to L2.
    pub injections: u64,
    /// Calls of KVM_RUN that entered a guest or tried to.
    pub kvm_entries: u64,
    /// Places in memory where the guests stop now.
    pub stops: u64,
    /// Instructions of L1 that were gone through, under the present page tables.
    pub scanned: u64,
}
